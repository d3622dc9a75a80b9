"Packaging: every fact comes from `settings.ini`, the name and `requires-python` from `pyproject.toml`."
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

root = Path(__file__).resolve().parent
ini = ConfigParser(delimiters=['='], interpolation=None)
ini.read(root/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']
def lines(key): return [o.strip() for o in cfg.get(key, '').splitlines() if o.strip()]

setup(
    version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'].split(), author=cfg['author'],
    license_expression=cfg['license'], license_files=['LICENSE'],
    long_description=(root/'README.md').read_text(encoding='utf-8'), long_description_content_type='text/markdown',
    classifiers=[f'Development Status :: {cfg["status"]}', 'Intended Audience :: Developers', 'Intended Audience :: Science/Research',
                 'Natural Language :: English', 'Topic :: Scientific/Engineering :: Artificial Intelligence', 'Typing :: Typed',
                 *(f'Programming Language :: Python :: {o}' for o in ['3', *cfg['pythons'].split()])],
    packages=find_packages(include=['tsfast', 'tsfast.*']), include_package_data=True, package_data={'': ['*.csv', 'py.typed']},
    install_requires=lines('requirements'),
    extras_require={k.removesuffix('_requirements'): lines(k) for k in cfg if k.endswith('_requirements')},
    entry_points={'console_scripts': lines('console_scripts'), 'nbdev': ['tsfast=tsfast._modidx:d']}, zip_safe=False)
