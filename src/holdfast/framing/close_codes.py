"""All close codes (RFC 6455 section 7.4.1 and the IANA registry), and who may use which.

Pure, and without any import of the package: `core`, which may import nothing else of `framing`,
checks with these what an application closes with.
"""

from __future__ import annotations

from typing import Final

# Section 7.4.1, in its order and with its reasons. 1004 is reserved and means nothing yet.
NORMAL: Final = 1000  # the purpose of the connection has been fulfilled
GOING_AWAY: Final = 1001  # the server goes down, or the browser leaves the page
PROTOCOL_ERROR: Final = 1002
UNSUPPORTED_DATA: Final = 1003  # a type of data that the endpoint cannot accept
INVALID_DATA: Final = 1007  # data that contradict the type of their message: no UTF-8 in a text
POLICY_VIOLATION: Final = 1008  # where no other code fits
TOO_BIG: Final = 1009  # the message is too big to process
MISSING_EXTENSION: Final = 1010  # only clients close with it: the server has not agreed to one
INTERNAL_ERROR: Final = 1011  # something unexpected keeps the server from going on

# Section 7.4.1: for reporting only, never on the wire.
NO_CODE: Final = 1005  # the Close frame carried no code
VANISHED: Final = 1006  # the connection ended without a Close frame
TLS_FAILED: Final = 1015  # the TLS handshake failed

# Registered with IANA after the RFC.
SERVICE_RESTART: Final = 1012  # the client may come again, after a random delay
TRY_AGAIN_LATER: Final = 1013  # the server has too much to do
BAD_GATEWAY: Final = 1014  # the server is a gateway and got a wrong answer


def may_be_sent(code: int) -> bool:
    """Return whether a Close frame may carry this code, from either side."""
    # 1016 to 2999 are for future standards: none of them was agreed on here. Section 7.4.2: 3000 to
    # 3999 are registered by libraries and frameworks, 4000 to 4999 are private.
    return (
        NORMAL <= code <= UNSUPPORTED_DATA or INVALID_DATA <= code <= BAD_GATEWAY or _is_own(code)
    )


def may_be_chosen(code: int) -> bool:
    """Return whether an application may close with this code."""
    # Of what goes on the wire an application cannot say that its peer broke the protocol.
    return may_be_sent(code) and code != PROTOCOL_ERROR


def _is_own(code: int) -> bool:
    return 3000 <= code <= 4999
