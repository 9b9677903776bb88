"""What a form was filled in with (XMLHttpRequest Standard, FormData; File API).

Pure.
"""

from __future__ import annotations

__all__ = ["FormData"]


class FormData:
    """Names and values, in order; a name may come more than once."""
