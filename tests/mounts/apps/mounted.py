"""Any of the applications here, mounted at a path: `FRAMEWORK` names its module."""

from __future__ import annotations

import importlib
import os

from holdfast import ServiceWorker

app = ServiceWorker()
app.mount(importlib.import_module(os.environ["FRAMEWORK"]).app, "/deep/er")
