"The oldest supported version of each required library, as a constraints file: `python scripts/lower_bounds.py > oldest.txt`"
from configparser import ConfigParser
from pathlib import Path

ini = ConfigParser(delimiters=['='], interpolation=None)
ini.read(Path(__file__).resolve().parents[1]/'settings.ini', encoding='utf-8')
# those of the development tools stay open: the newest test runner serves
for line in ini['DEFAULT']['requirements'].split(): print(line.replace('>=', '=='))
