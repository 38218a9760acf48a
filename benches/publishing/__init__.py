"""What `publish.py` measures.

In reading order: `ours` and `peers` are the contenders, `contest` has them take turns, `lone` times single calls,
`memory` fills a queue, `spool` fills a disk and empties it again, looking for `numbered` events in the end.
"""
