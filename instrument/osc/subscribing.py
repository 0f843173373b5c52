"""What the words of /subscribe and /unsubscribe mean, and what is said of them.

Knows nothing of sockets, nor who listens already.
"""

from __future__ import annotations

from typing import Any

from instrument.osc.codec import matches
from instrument.osc.feedback import MOST_WANTED, STATUS, Subscription
from instrument.osc.router import Sender, address_of
from instrument.parameters.params import BadValue, ParamSet, shorten
from instrument.parameters.values import closest

_NAMED = 8  # of what is not there


def subscriber(params: ParamSet, args: tuple[Any, ...], sender: Sender) -> tuple[int | None, Subscription]:
    """The arguments of /subscribe: a port of the sender's, if it listens on another than it sends from, and addresses
    or patterns. Raises BadValue, OscError."""
    port = None
    wanted = []
    for arg in args:
        if port is None and _is_port(arg):
            port = int(arg)
        elif isinstance(arg, str) and arg.startswith("/") and len(wanted) < MOST_WANTED:
            matches(arg, "/")  # raises for a broken pattern
            wanted.append(arg)
        else:
            remedy = "send the port you listen on, if it is another, then address patterns"
            raise BadValue(f"cannot hold {shorten(repr(arg))}; {remedy}")
    return port, Subscription(params, sender.origin, wanted or None)


def listening_port(args: tuple[Any, ...]) -> int | None:
    """The arguments of /unsubscribe: the port that /subscribe named, if any. Raises BadValue."""
    for arg in args[1:] if args and _is_port(args[0]) else args:
        remedy = "it ends all that was subscribed to; to hear less, /subscribe again with what is still wanted"
        raise BadValue(f"cannot hold {shorten(repr(arg))}; {remedy}")
    return int(args[0]) if args else None


def _is_port(arg: Any) -> bool:
    return isinstance(arg, (int, float)) and not isinstance(arg, bool) and 0 < arg < 65536


def words_on_lacking(params: ParamSet, subscription: Subscription) -> str:
    """Of what is wanted by name and is not there: which, and what may be meant. Empty where nothing lacks."""
    lacking = subscription.lacking()
    known = [*map(address_of, params.names()), *(f"/status/{name}" for name in STATUS)] if lacking else []
    named = [shorten(one) + _meant(closest(one, known)) for one in lacking[:_NAMED]]
    more = [f"and {len(lacking) - _NAMED} more"] if lacking[_NAMED:] else []
    return f"/subscribe: not there now, and told as soon as it is: {', '.join(named + more)}" if lacking else ""


def _meant(near: str | None) -> str:
    return f" (did you mean {near}?)" if near else ""
