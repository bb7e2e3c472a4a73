"""Run the command line: ``python -m loopcron``."""

from __future__ import annotations

from loopcron._cli import main

raise SystemExit(main())
