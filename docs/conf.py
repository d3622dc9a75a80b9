"Settings of Sphinx; `docs/build.py` prepares the pages and calls it"
import importlib.metadata, shutil, sys
from configparser import ConfigParser
from pathlib import Path

here = Path(__file__).resolve().parent
facts = ConfigParser(); facts.read(here.parent/'settings.ini'); facts = facts['DEFAULT']
project, author, version = facts['lib_name'], facts['author'], facts['version']
release, copyright = version, author
html_title = 'tsfast'

extensions = ['myst_nb', 'sphinx_copybutton', 'sphinx_design', 'sphinx.ext.mathjax']
nb_execution_mode = 'off'       # the notebooks have been run already
nb_merge_streams = True
myst_enable_extensions = ['colon_fence', 'dollarmath', 'attrs_block', 'attrs_inline', 'deflist']
myst_heading_anchors = 3
myst_links_external_new_tab = False
suppress_warnings = ['myst.header', 'mystnb.unknown_mime_type']   # an entry may follow the title directly
templates_path = []
exclude_patterns = ['llms.txt']

# MathJax as one file from a package, so that pages load nothing from another server
mathjax = next(f for f in importlib.metadata.files('sphinx-mathjax-offline') if f.name == 'tex-svg.js')
mathjax_dir = here.parent/'_proc'/'mathjax'; mathjax_dir.mkdir(parents=True, exist_ok=True)
shutil.copy2(mathjax.locate(), mathjax_dir/'tex-svg.js')
mathjax_path = 'tex-svg.js'
mathjax3_config = {'options': {'enableMenu': False}}

html_theme = 'pydata_sphinx_theme'
html_static_path = ['_static', str(mathjax_dir)]
html_css_files = ['tsfast.css']
html_favicon = '_static/icon.svg'
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    'logo': {'text': 'tsfast', 'image_light': '_static/icon.svg', 'image_dark': '_static/icon.svg'},
    'icon_links': [{'name': 'Source', 'url': facts['git_url'], 'icon': 'fa-brands fa-github'}],
    'show_prev_next': True, 'navigation_with_keys': False, 'show_nav_level': 1, 'show_toc_level': 2,
    'collapse_navigation': False, 'navigation_depth': 2,
    'navbar_align': 'left', 'footer_start': ['copyright'], 'footer_end': [], 'secondary_sidebar_items': ['page-toc'],
    'pygments_light_style': 'a11y-high-contrast-light', 'pygments_dark_style': 'a11y-high-contrast-dark',
}
html_sidebars = {'index': []}
copybutton_prompt_text = r'>>> |\$ '
copybutton_prompt_is_regexp = True
copybutton_exclude = '.linenos, .gp, .go'
copybutton_selector = 'div.cell_input pre, div.highlight-bash pre, div.highlight-python:not(.signature) pre'
