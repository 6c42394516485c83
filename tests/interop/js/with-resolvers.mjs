// js-libp2p 3 is written for Node 22; this one function is what Node 20 lacks.
Promise.withResolvers ??= function withResolvers () {
  let resolve, reject
  const promise = new Promise((onResolved, onRejected) => {
    resolve = onResolved
    reject = onRejected
  })
  return { promise, resolve, reject }
}
