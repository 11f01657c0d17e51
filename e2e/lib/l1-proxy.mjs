// A way to L1 that misbehaves: node l1-proxy.mjs PORT L1_URL. `PUT /mode` with one of these words says what becomes of transactions from then on:
//   pass   they arrive (and those that were held, first)
//   twice  each arrives, and again a second later
//   drop   they are answered as if they had arrived, and do not
//   hold   they are answered as if they had arrived, and arrive with the next `pass`
//   error  they are answered with an error, though they arrive
// `GET /seen` says how many transactions came in this mode. All else goes through as it is.
import { createServer } from 'node:http'

const [port, target] = process.argv.slice(2)
let mode = 'pass', seen = 0, held = []

const send = async (method, path, body) => {
  const response = await fetch(target + path, { method, body, headers: body ? { 'content-type': 'application/json' } : { accept: 'application/octet-stream' } })
  return { status: response.status, type: response.headers.get('content-type') ?? '', body: Buffer.from(await response.arrayBuffer()) }
}
const forward = (body) => send('POST', '/', body)
const result = (id, value) => ({ status: 200, type: 'application/json', body: JSON.stringify({ jsonrpc: '2.0', id, ...value }) })

const transaction = async (id, body) => {
  seen += 1
  if (mode === 'hold') held.push(body)
  if (mode === 'drop' || mode === 'hold') return result(id, { result: '0x' + '11'.repeat(32) })
  const answer = await forward(body)
  if (mode === 'twice') setTimeout(() => forward(body).catch(() => {}), 1000)
  return mode === 'error' ? result(id, { error: { code: -32000, message: 'the node is busy' } }) : answer
}

const answer = async (method, path, body) => {
  if (method === 'GET' && path === '/seen') return { status: 200, type: 'text/plain', body: String(seen) }
  if (method === 'PUT' && path === '/mode') {
    mode = body.toString()
    seen = 0
    if (mode === 'pass') for (const one of held.splice(0)) await forward(one)
    return { status: 200, type: 'text/plain', body: mode }
  }
  if (method !== 'POST') return send(method, path)
  const request = JSON.parse(body)
  return request.method === 'eth_sendRawTransaction' ? transaction(request.id, body) : forward(body)
}

createServer(async (request, response) => {
  try {
    const parts = []
    for await (const part of request) parts.push(part)
    const { status, type, body } = await answer(request.method, request.url, Buffer.concat(parts))
    response.writeHead(status, { 'content-type': type }).end(body)
  } catch (error) {
    response.writeHead(502).end(String(error))
  }
}).listen(Number(port), '127.0.0.1')
