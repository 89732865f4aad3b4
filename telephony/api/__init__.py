"""REST for programs and operators, mounted at `/api/v1`: calls, approvals, suppressions, recordings.

app.mount("/api/v1", api_app(lambda: app.state.services))
"""

from __future__ import annotations

from telephony.api.app import api_app
from telephony.api.services import Services

__all__ = ["Services", "api_app"]
