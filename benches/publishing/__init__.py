"""What `publish.py` measures.

In reading order: `ours` and `peers` are the contenders, `contest` has them take turns, `lone` times single calls,
`memory` fills a queue.
"""
