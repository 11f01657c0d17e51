// A node that lies about what blocks did: node liar.mjs PORT NODE_URL ADDRESS. What `jove_getEffects` tells goes through with that account, which never sends, as rich
// as its balance has bytes; `GET /lies` says how often that was. All else goes through as it is.
import { createServer } from 'node:http'

const [port, target, address] = process.argv.slice(2)
// The account in RLP: address, true, nonce 0, and a balance of eight bytes.
const account = new RegExp(`(94${address.slice(2).toLowerCase()}0180)88[0-9a-f]{16}`, 'g')
let lies = 0

const richer = (_, before) => {
  lies += 1
  return before + '88' + 'ff'.repeat(8)
}

createServer(async (request, response) => {
  if (request.method === 'GET') return response.end(String(lies))
  try {
    const parts = []
    for await (const part of request) parts.push(part)
    const body = Buffer.concat(parts)
    const answer = await fetch(target, { method: 'POST', body, headers: { 'content-type': 'application/json' } })
    const text = await answer.text()
    response.setHeader('content-type', 'application/json')
    response.end(JSON.parse(body).method === 'jove_getEffects' ? text.replace(account, richer) : text)
  } catch (error) {
    response.writeHead(502).end(String(error))
  }
}).listen(Number(port), '127.0.0.1')
