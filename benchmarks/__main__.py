"""Run the benchmarks one after the other, each in a process of its own.

    python -m benchmarks                     # the quick round: every script that says what its quick setting is
    python -m benchmarks loader imports      # these alone, in their quick setting
    python -m benchmarks --full loader       # with the script's own defaults: more repeats, larger data
    python -m benchmarks --list
    python -m benchmarks --no-peers          # without installing other libraries

A script takes part in the quick round if it has a line such as `QUICK = ['--repeats', '3']`: the arguments that make it quick. Results of
the quick round go to `build/bench/`; those of `--full`, from which the pages are made, to `benchmarks/results/`."""
import argparse, ast, os, subprocess, sys, time
from pathlib import Path

HERE = Path(__file__).resolve().parent


def scripts():
    "`{name: (first line of its docstring, quick arguments or None, source)}` of the scripts that can be run"
    res = {}
    for f in sorted(HERE.glob('*.py')):
        text = f.read_text(encoding='utf-8')
        tree = ast.parse(text)
        if f.stem.startswith('__') or '__main__' not in text: continue
        quick = [ast.literal_eval(o.value) for o in tree.body if isinstance(o, ast.Assign)
                 and any(getattr(t, 'id', '') == 'QUICK' for t in o.targets)]
        res[f.stem] = ((ast.get_docstring(tree) or '').split('\n')[0], quick[0] if quick else None, text)
    return res


def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('names', nargs='*', help='scripts to run; default: all that have a quick setting')
    p.add_argument('--full', action='store_true', help="the scripts' own defaults instead of their quick settings")
    p.add_argument('--no-peers', action='store_true', help='leave other libraries out where a script can')
    p.add_argument('--list', action='store_true', help='say what there is')
    a = p.parse_args(argv)
    found = scripts()
    if a.list:
        for n, (what, quick, _) in found.items(): print(f"{n:<16} {what}{'' if quick is not None else '  (not in the quick round)'}")
        return 0
    unknown = [o for o in a.names if o not in found]
    if unknown: p.error(f"there is no benchmark {unknown[0]!r}; there are: {', '.join(found)}")
    failed, env = [], dict(os.environ)
    if not a.full: env['TSFAST_BENCH_RESULTS'] = str(HERE.parent/'build'/'bench')    # what was measured with care stays
    for n in a.names or [n for n, (_, quick, _) in found.items() if quick is not None]:
        what, quick, text = found[n]
        args = ([] if a.full else quick or []) + (['--no-peers'] if a.no_peers and '--no-peers' in text else [])
        print(f"## {n}: {what}\n\n    python -m benchmarks.{n} {' '.join(args)}\n", flush=True)
        t = time.time()
        if subprocess.run([sys.executable, '-m', f'benchmarks.{n}', *args], cwd=HERE.parent, env=env).returncode: failed.append(n)
        print(f'({time.time() - t:.0f} s)\n', flush=True)
    if failed: print(f"Failed: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == '__main__': sys.exit(main())
