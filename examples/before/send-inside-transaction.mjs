// The like and its event "in one transaction": the event is sent to Kafka before the commit. But Kafka takes no part in
// PostgreSQL's transaction. While Kafka is down no like can be saved, each holding its connection and its locks until
// the send gives up; and when the commit fails after the send, the event of a like that never was is on its way.
import { sql } from '@likewise/database'
import { openScene } from './scene.mjs'

const { db, table, publish, serve } = await openScene('send-inside-transaction', {
  users: 'user_id bigint primary key',
  // Checked at commit, as a rule between aggregates often is; any error between send and commit would do as well.
  likes: `user_id bigint references $users deferrable initially deferred, product_id bigint,
          primary key (user_id, product_id)`,
})
await db.execute(sql`insert into ${table('users')} select generate_series(1, 100)`)

serve({
  async onLike(like) {
    await db.tx(async (tx) => {
      await tx.execute(sql`insert into ${table('likes')} values (${like.userId}, ${like.productId})`)
      await publish(like)
    })
  },
})
