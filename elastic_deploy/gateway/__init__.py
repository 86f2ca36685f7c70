"""The front door: one process on the head, one address in front of all engines of a cluster.

It reads what the supervisor writes (the routing table and the keys) and outlives it. It knows nothing of Ray, of
placement groups or of why an engine is gone: a route has backends, or a reason why it has none.

A request's way: `door` (who asks, and for what) → `forward` (choose, hold, try again) → `upstream` (one engine) →
`relay` (the answer, as it comes) → `client`. A stream that breaks goes back to `forward`; `telling` knows what was
told of it, `resume` asks the next engine to go on. `table`, `keys`, `paths`, `ask`, `coverage`, `balance`, `refusal`,
`sse`, `chunks`, `telling`, `replay` and `stops` are pure.
"""
