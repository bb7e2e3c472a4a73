"""How Sphinx builds the documentation: MyST pages, the API from its docstrings, the furo theme, no network."""

from importlib.metadata import version as installed_version

project = "loopcron"
author = "The loopcron authors"
project_copyright = "2026, The loopcron authors"
release = version = installed_version("loopcron")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "examples"]

html_theme = "furo"
html_title = f"loopcron {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# `Name` in a docstring is a name of ours; without nitpicky mode one that cannot be found stays plain text.
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
# loopcron's own sections, beside the usual ones.
napoleon_custom_sections = ["Cancellation", "Source"]
