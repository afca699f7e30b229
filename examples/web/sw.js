// Answers with the headers that WebAssembly threads need, on hosts that cannot set them, and keeps
// what was loaded for use without a network.
"use strict";

const CACHE = "msinet-1";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && new URL(request.url).origin === self.location.origin) {
    event.respondWith(answer(request));
  }
});

async function answer(request) {
  const cache = await caches.open(CACHE);
  let response;
  try {
    response = await fetch(request);
  } catch (error) {
    response = await cache.match(request);
    if (!response) throw error;
  }
  const headers = new Headers(response.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  const { status, statusText } = response;
  const isolated = new Response(response.body, { status, statusText, headers });
  if (status === 200) cache.put(request, isolated.clone()).catch(() => {});  // the disk is full
  return isolated;
}
