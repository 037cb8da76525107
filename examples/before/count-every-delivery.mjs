// A listener that counts what it is given. Kafka, like every broker that does not lose records, delivers at least once:
// a producer sends again when an answer is lost, a consumer reads again when it ended before its offset was stored.
// Each time, this one counts again.
import { sql } from '@likewise/database'
import { openScene } from './scene.mjs'

const { db, table, onEveryRecord, serve } = await openScene('count-every-delivery', {
  product_metrics: 'product_id bigint primary key, like_count bigint not null',
})

const stop = onEveryRecord(async ({ productId }) => {
  await db.execute(sql`
    insert into ${table('product_metrics')} as m values (${productId}, 1)
    on conflict (product_id) do update set like_count = m.like_count + 1`)
})

serve({
  async likeCount(productId) {
    const [row] = await db.query(sql`
      select like_count from ${table('product_metrics')} where product_id = ${productId}`)
    return row?.like_count ?? 0
  },
  onStop: stop,
})
