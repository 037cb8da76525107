// The like is committed first, then its event is sent. No ghosts, and likes go on while Kafka is down; but between the
// commit and the send nothing remembers the event. Kafka down, a crash, a deployment: the like stays, its event is lost
// for ever, and no later retry knows of it.
import { sql } from '@likewise/database'
import { openScene } from './scene.mjs'

const { db, table, publish, serve } = await openScene('send-after-commit', {
  users: 'user_id bigint primary key',
  likes: `user_id bigint references $users deferrable initially deferred, product_id bigint,
          primary key (user_id, product_id)`,
})
await db.execute(sql`insert into ${table('users')} select generate_series(1, 100)`)

serve({
  async onLike(like) {
    await db.tx(async (tx) => {
      await tx.execute(sql`insert into ${table('likes')} values (${like.userId}, ${like.productId})`)
    })
    // The like is saved, so its request has succeeded, whatever becomes of the event.
    await publish(like).catch((error) => console.error(`event lost: ${error.message}`))
  },
})
