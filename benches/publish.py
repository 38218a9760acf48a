"""What publishing an event costs, beside its peers in the same run. `make bench-publish`.

Every contender writes the same eleven-field inference event to a private Redis with `MAXLEN ~ 1000000`. They take
turns; medians of several rounds are printed. "events/s" is until Redis has acknowledged all of them. "caller us"
is the CPU time of the calling thread per event, "process us" that of the whole process, with our writer's thread.
Then: how long a lone call takes, how much memory a full queue has, how fast events go to disk and back.
"""

from __future__ import annotations

import argparse
import logging
import os

import hiredis
import redis

from harness.redis_server import RedisServer
from inference import MAXLEN, STREAM
from publishing import ours
from publishing.contest import print_contest
from publishing.lone import print_lone_calls
from publishing.memory import print_memory
from publishing.spool import print_spool

PARTS = ("contest", "lone", "memory", "spool")


def entry_as_written(server: RedisServer) -> list[str]:
    """The fields and values of an entry that our publisher wrote, so that all send the same bytes."""
    ours.publish_dict(server.url, [], 1)
    return [text for pair in server.entries(STREAM)[0][1].items() for text in pair]


def main() -> None:
    """Runs what is asked for and prints it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=PARTS, action="append", help="this part alone; may be repeated")
    options = parser.parse_args()
    parts = options.only or PARTS
    # Publishers say that Redis is away, which it is on purpose.
    logging.disable(logging.WARNING)
    with RedisServer() as server:
        fields = entry_as_written(server)
        print(f"Publishing an event of {len(fields) // 2} fields and {sum(map(len, fields))} bytes; ", end="")
        print(f"{os.cpu_count()} cores, redis-py {redis.__version__} with hiredis {hiredis.__version__}")
        if "contest" in parts:
            print(f"\nMAXLEN ~ {MAXLEN}, medians of {options.rounds} rounds in turn")
            print_contest(server, fields, options.rounds)
        if "lone" in parts:
            print_lone_calls(server.url, fields)
    if "memory" in parts:
        print_memory()
    if "spool" in parts:
        print_spool()


if __name__ == "__main__":
    main()
