// Counting likes with an event bus inside the process, as many a service begins: the request saves the like and emits
// an event, a listener of the same process counts. Correct on one server. Start it twice, as production does, and each
// instance hears and counts only its own half.
//
//   PORT=0 node examples/before/in-process-bus.mjs      (0: any free port)
import { EventEmitter } from 'node:events'
import { createServer } from 'node:http'

const bus = new EventEmitter()
const likeCounts = new Map()

bus.on('product-liked', ({ productId }) => {
  likeCounts.set(productId, (likeCounts.get(productId) ?? 0) + 1)
})

const server = createServer(async (request, response) => {
  const answer = (status, body) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  }
  const { pathname } = new URL(request.url, 'http://localhost')
  if (request.method === 'POST' && pathname === '/api/likes') {
    let text = ''
    for await (const chunk of request) text += chunk
    const like = JSON.parse(text)
    bus.emit('product-liked', like) // every listener of this process hears it, no other does
    return answer(201, like)
  }
  const [, productId] = /^\/api\/products\/(\d+)\/metrics$/.exec(pathname) ?? []
  if (request.method === 'GET' && productId !== undefined) {
    return answer(200, { productId: Number(productId), likeCount: likeCounts.get(Number(productId)) ?? 0 })
  }
  return answer(404, {})
})

server.listen(Number(process.env.PORT ?? 0), '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`)
})

const stop = () => process.exit()
process.on('SIGINT', stop).on('SIGTERM', stop).on('disconnect', stop) // disconnect: whoever started it has ended
