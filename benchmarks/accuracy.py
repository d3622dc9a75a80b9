"""Test accuracy on the archive's default splits: a sweep that can be stopped at any time and goes on where it stopped.

    python -m benchmarks.accuracy                       # what the rows lack of benchmarks/accuracy.toml
    python -m benchmarks.accuracy --plan other.toml     # of another sweep
    python -m benchmarks.accuracy --render              # only the pages' table and diagrams
    tsfast report benchmarks/results/accuracy.csv       # the same rows as a page of its own

Test data affects no choice: the settings come from `tsfast.recipe.recipe`, which sees the number of training series, their length and the
architecture and is the same for all data sets; it was chosen inside training splits (`benchmarks/recipe_search.py`). Each network is
trained on the whole training split and evaluated once, with the weights of the last epoch. Data is found on the ordinary search path of
`get_UCR_data` (a folder in TSFAST_DATA, the cache, sktime's package, download).

One row per run in `benchmarks/results/accuracy.csv`. The runs themselves, and their probabilities, from which rows of ensembles are made,
are kept in `benchmarks/.cache/` (not in git)."""
import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from benchmarks.rows import CACHE, RESULTS, append_row, probs_file, read_rows, scores, versions

QUICK = ['--render']   # the quick round renews the table from the rows; the sweep itself takes hours
PLAN = Path(__file__).with_suffix('.toml')


def kind_of(settings):
    "'recipe', 'ridge' for heads in closed form, 'custom' where anything was changed by hand"
    from tsfast.sweeps.table import chosen
    import msgspec
    return 'ridge' if settings.ridge else 'custom' if chosen(msgspec.to_builtins(settings), settings.arch) else 'recipe'

def key_of(settings): return settings.dsid, settings.arch, str(settings.seed), kind_of(settings)

def missing(plan, rows):
    "The runs of a sweep that have no row. A first figure for every set comes before a second for any"
    from tsfast.sweeps import read_sweep, sweep_runs
    there = {(r['dataset'], r['arch'], r['seed'], r['recipe']) for r in rows}
    return sorted((o for o in sweep_runs(read_sweep(plan)) if key_of(o) not in there), key=lambda o: o.seed)

def row_of(settings, folder, out):
    "The row of a run that is done; its probabilities are kept"
    from tsfast.data.external import get_UCR_data
    from tsfast.inference import Predictor
    from tsfast.training import read_json
    results, used = read_json(folder/'results.json'), read_json(folder/'args.json')['settings']
    _, _, X, y = get_UCR_data(settings.dsid, path=settings.path)
    predictor = Predictor(folder/'model', device='cpu')
    probs, targs = predictor.predict_proba(X), np.searchsorted(predictor.classes, y)
    history = pd.read_csv(folder/'metrics.csv')
    row = dict(dataset=results['dataset'], arch=settings.arch, seed=settings.seed, recipe=kind_of(settings), epochs=results['epochs'],
               **{k: 0. if settings.ridge and k != 'bs' else used[k] for k in ('bs', 'lr', 'wd', 'label_smoothing')},
               n_train=results['n_train'], n_test=results['n_test'], **scores(probs, targs), seconds=results['seconds'],
               train_loss=round(float(history.train_loss.iloc[-1]), 5) if 'train_loss' in history else '', **{**versions(), 'threads': results['threads']})
    CACHE.mkdir(parents=True, exist_ok=True)
    np.savez(probs_file(CACHE, row), probs=probs.astype(np.float16), targs=targs)
    append_row(row, out)
    return row

def sweep(plan, out, workers=1):
    "Train what is missing, and append the rows as the runs end"
    from tsfast.training.many import on_processes
    folder, runs = CACHE.parent/'accuracy', missing(plan, read_rows(out))
    folder.mkdir(parents=True, exist_ok=True)
    for i, answer in on_processes(runs, folder, workers, 1, False):
        s = runs[i]
        if answer['status'] == 'failed': said = answer['error']
        else: said = f"accuracy {row_of(s, folder/answer['key'], out)['accuracy']:.4f}"
        print(f'{s.dsid:24}{s.arch:18}seed {s.seed}  {said}', flush=True)

def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.accuracy', description=__doc__.split('\n')[0],
                                formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument('--plan', type=Path, default=PLAN, help="a sweep as TOML")
    p.add_argument('--workers', type=int, default=1, help='runs at a time; 1, so that the seconds are those of a quiet machine')
    p.add_argument('--out', type=Path, default=RESULTS/'accuracy.csv')
    p.add_argument('--render', action='store_true', help='only make the table and the diagrams from the rows')
    a = p.parse_args(argv)
    if not a.render: return sweep(a.plan, a.out, a.workers)
    from benchmarks.accuracy_report import render
    print(render())


if __name__ == '__main__': main()
