"""From rows of accuracies to what a page shows: a table beside the published figures, means over the sets that both have, and
critical-difference diagrams, all of them by `tsfast.sweeps`. `tsfast report benchmarks/results/accuracy.csv` makes a page of its own.

    python -m benchmarks.accuracy --render      # writes results/accuracy.md, results/accuracy_*.svg and the rows of the ensembles

Everything is computed from the rows in `benchmarks/results/`, so that a page is renewed with them."""

import numpy as np
import pandas as pd

from benchmarks.rows import CACHE, FIELDS, GROUPS, RESULTS, append_row, probs_file, read_rows, scores

# which published figure an architecture is to be judged against; one network against single networks, an ensemble against the ensemble
PUBLISHED = {'InceptionTime': 'inception_x1_mean', 'InceptionTime ×5': 'inceptiontime', 'InceptionTime ×3': 'inceptiontime', 'FCN': 'fcn',
             'ResNet': 'resnet', 'HInceptionTime': 'h_inception_x1_mean', 'LITE': 'lite', 'LITE ×5': 'litetime', 'LITE ×3': 'litetime',
             'MiniRocket + ridge': 'minirocket', 'HydraPlus + ridge': 'hydra', 'MultiRocketHydra + ridge': 'multirocket_hydra',
             'TSForestClassifier': 'quant', 'Quant + ridge': 'quant'}
NAMES = dict(inception_x1_mean='Inception, one network', inceptiontime='InceptionTime, ensemble of 5', fcn='FCN', resnet='ResNet',
             minirocket='MiniRocket', hydra='Hydra',
             multirocket_hydra='MultiRocket-Hydra', hive_cote2='HIVE-COTE 2', rocket='ROCKET', quant='QUANT',
             h_inception_x1_mean='H-Inception, one network', lite='LITE, one network', litetime='LITETime, ensemble of 5')
ENSEMBLES = RESULTS/'accuracy_ensembles.csv'


# ---- rows

def measured(): # dataset, model, seed, accuracy, balanced_accuracy, seconds
    "All runs with the recipe or with a closed-form head; runs with settings by hand are left out"
    rows = pd.DataFrame(read_rows(), columns=FIELDS)
    rows = rows[rows.recipe.isin(['recipe', 'ridge'])].assign(model=lambda d: d.arch + np.where(d.recipe == 'ridge', ' + ridge', ''))
    other = RESULTS/'rocket_accuracy.csv'
    if other.exists():   # fixed features have a sweep of their own, with their times; what is only there comes along
        o = pd.read_csv(other).assign(model=lambda d: d.model + np.where(d.alpha.isna(), '', ' + ridge'))
        there = set(zip(rows.dataset, rows.model, rows.seed.astype(int)))
        o = o[[k not in there for k in zip(o.dataset, o.model, o.seed)]]
        rows = pd.concat([rows, o[['dataset', 'model', 'seed', 'accuracy']].astype({'seed': str})])
    if ENSEMBLES.exists(): rows = pd.concat([rows, pd.DataFrame(read_rows(ENSEMBLES)).assign(model=lambda d: d.arch)])
    num = ['accuracy', 'balanced_accuracy', 'seconds', 'epochs']
    rows[num] = rows[num].apply(pd.to_numeric, errors='coerce')
    return rows.drop_duplicates(['dataset', 'model', 'seed'], keep='last').reset_index(drop=True)

def write_ensembles(sizes=(3, 5)):
    "The mean of the probabilities of k runs, those with the lowest seeds, for every set where as many were kept"
    have = {(r['dataset'], r['arch']) for r in read_rows(ENSEMBLES)}
    kept = {}
    for r in sorted(read_rows(), key=lambda r: int(r['seed'])):
        file = probs_file(CACHE, r)
        if r['recipe'] == 'recipe' and file.exists(): kept.setdefault((r['dataset'], r['arch']), []).append((r, file))
    for (dataset, arch), runs in sorted(kept.items()):
        for k in sizes:
            if (dataset, f'{arch} ×{k}') in have or len(runs) < k: continue
            rows, arrays = [r for r, _ in runs[:k]], [np.load(f) for _, f in runs[:k]]
            probs = np.mean([o['probs'].astype(np.float64) for o in arrays], 0)
            append_row({**rows[0], 'arch': f'{arch} ×{k}', 'seed': ' '.join(r['seed'] for r in rows), 'train_loss': '',
                        **scores(probs, arrays[0]['targs']),
                        'seconds': round(sum(float(r['seconds']) for r in rows), 1)}, ENSEMBLES)

def published(): # datasets × methods, 0 to 1
    from tsfast.data.external import published_accuracy
    return published_accuracy()


# ---- tables

def compared_runs(rows): # of `measured`
    "The runs as a `Comparison`, with all models"
    from tsfast.sweeps.compare import Comparison
    return Comparison(rows, 'accuracy')

def table(models=None, datasets=None): # one row a set; '89.9 ± 0.5 (3)' is the mean, the standard deviation and the number of runs
    "Measured beside published, in percent"
    rows, pub = measured(), published()
    models = models or [m for m in PUBLISHED if m in set(rows.model)] + sorted(set(rows.model) - set(PUBLISHED))
    datasets = datasets or [d for d in GROUPS['univariate'] + GROUPS['multivariate'] if d in set(rows[rows.model.isin(models)].dataset)]
    cells, out = compared_runs(rows).table(1, scale=100).reindex(datasets).fillna(''), pd.DataFrame(index=pd.Index(datasets, name='data set'))
    for m in models:
        out[m] = cells[m].str.replace(r' \(1\)$', '', regex=True) if '×' in m else cells[m]    # an ensemble is one of its kind
        p = PUBLISHED.get(m)
        if p not in pub or f'published {NAMES[p]}' in out: continue
        known = lambda d: f'{pub[p][d]*100:.1f}' if d in pub.index and pd.notna(pub[p][d]) else ''
        out[f'published {NAMES[p]}'] = [known(d) for d in datasets]
    return out

def means(models=None): # one row a model
    "Means over the sets that were measured and published, and how the model compares there"
    c = compared_runs(measured())
    methods = {m: PUBLISHED[m] for m in models or PUBLISHED if m in c.models}
    return pd.DataFrame([dict(model=o.model, sets=o.datasets, runs=o.runs, measured=f'{o.measured*100:.2f}', published=f'{o.published*100:.2f}',
                              difference=f'{o.difference*100:+.2f}', **{'median difference': f'{o.median*100:+.2f}'},
                              **{'better / same / worse': f'{o.better} / {o.same} / {o.worse}'}, **{'published as': NAMES[o.method]})
                         for o in c.published(methods).itertuples()])

def missing(archs=('InceptionTime', 'HInceptionTime', 'LITE', 'XceptionTime', 'FCN', 'ResNet', 'LSTM_FCN', 'RNNAttentionPlus',
                   'LSTMAttentionPlus', 'GRUAttentionPlus', 'MiniRocket', 'HydraPlus', 'MultiRocketHydra',
                   'MiniRocket + ridge', 'HydraPlus + ridge', 'MultiRocketHydra + ridge', 'TSForestClassifier'), seeds=3):
    "Cells of the plan that nobody has measured yet"
    rows = measured()
    n = rows.groupby(['model', 'dataset']).size()
    sets = GROUPS['univariate'] + GROUPS['multivariate']
    return pd.DataFrame([dict(model=a, **{'sets with no run': sum((a, d) not in n.index for d in sets),
                                          f'sets with fewer than {seeds} runs': sum(n.get((a, d), 0) < seeds for d in sets),
                                          'sets': len(sets)}) for a in archs])

def to_markdown(df, index=True):
    df = df.reset_index() if index else df
    lines = ['| ' + ' | '.join(map(str, df.columns)) + ' |', '|' + '---|'*len(df.columns)]
    return '\n'.join(lines + ['| ' + ' | '.join(str(v) if str(v) else '–' for v in r) + ' |' for r in df.itertuples(index=False)])


# ---- critical differences

def cd_diagram(scores_, file): # scores_: datasets × methods
    "Mean ranks on a line; a bar joins methods that the tests do not tell apart"
    import matplotlib
    from tsfast.sweeps.pictures import rank_figure
    from tsfast.sweeps.ranking import groups, mean_ranks, pair_tests
    ranks = mean_ranks(scores_)
    title = f"Mean rank over {len(scores_)} data sets, the best at the left\nBars: no difference at 0.05, Wilcoxon's signed-rank test with Holm's correction"
    with matplotlib.rc_context({'svg.hashsalt': 'tsfast', 'svg.fonttype': 'none'}):
        rank_figure(ranks, groups(ranks, pair_tests(scores_)), title).savefig(file, metadata={'Date': None})

def compared(models=None, references=('inception_x1_mean', 'inceptiontime', 'rocket', 'hive_cote2'), datasets=None): # datasets × methods
    "Mean accuracies of measured models and of published methods, on the sets that all of them have"
    rows, pub = measured(), published()
    wide = rows.pivot_table(index='dataset', columns='model', values='accuracy', aggfunc='mean')
    wide = wide[[m for m in (models or wide.columns) if m in wide]].rename(columns=lambda m: f'tsfast {m}')
    return wide.join(pub[list(references)].rename(columns=NAMES), how='inner').loc[lambda d: d.index.isin(datasets or d.index)].dropna()


# ---- the page's parts

HEAD = """How these were made: a run trains one network on the archive's training split with `tsfast.recipe.recipe`, and evaluates its
last weights once on the test split; there is a run for each seed. One rule for all data sets makes the settings from the size of the
training split alone: test data affected no choice. Models with fixed features have a head in closed form (`+ ridge`), or trees
(`TSForestClassifier`): `python -m benchmarks.rocket_accuracy`. `Quant + ridge` stands beside the published figure of QUANT, which is of
trees. `×5` is the mean of the probabilities of five runs: they are kept on the machine that
trained (`benchmarks/.cache`), so to measure an ensemble anew delete the rows of its set from both files of rows, and train as many seeds.
A mean difference may rest on few sets, so the median stands beside it. A model is *same* where it differs by at most 0.05 percent. In the
tables, *mean ± standard deviation (runs)*, in percent. Published figures are those of `published_accuracy()`, where their sources are
named."""

SEARCH = ('On series of training splits that were held out (`benchmarks/recipe_search.py`); no test split was read. `base` is 150 '
          'epochs with batches of 8, of InceptionTime where no other is named; `bs`, `e`, `lr`, `wd` and `s` change the batch '
          'size, the epochs, the rate, the weight decay and the least number of steps, `smooth` the label smoothing. `ema`, `swa` '
          'and `best` are other weights of the same training: a moving average over about a tenth of the steps, the mean over the '
          'last quarter, and those of the epoch with the lowest training loss. `on` adds a second cycle of twice the epochs, in the '
          'runs alone whose training loss ended above a fifth of the log of the number of classes. `plateau` halves the rate where '
          'the training loss does not fall. Differences are to `base` on the same series (of '
          'the same architecture where there is one), means over sets ± standard errors; *steps* is a multiple of those of '
          '`base`. Plain accuracies are means over different sets: compare the differences. There are few runs, and one or two '
          'series decide most of these differences.')

def search_table():
    "What the search of the recipe measured, on series of training splits that were held back"
    rows = pd.DataFrame(read_rows(RESULTS/'recipe_search.csv'))
    if not len(rows): return None
    figures = ['accuracy', 'log_loss', 'train_accuracy', 'steps']
    rows[figures] = rows[figures].apply(pd.to_numeric)
    by_run, out = rows.drop_duplicates(['config', 'dataset', 'seed']).set_index(['config', 'dataset', 'seed'])[figures], []
    for c in rows.config.unique():
        own = f'{c.split()[0]} base'    # of the same architecture
        mine, base = by_run.loc[c], by_run.loc[own if own in by_run.index else 'base']
        both = mine.index.intersection(base.index)      # the same series to train on
        by_set = (mine.loc[both] - base.loc[both]).groupby('dataset').mean()
        d, se, m = by_set.mean(), by_set.sem(), mine.groupby('dataset').mean().mean()
        steps = (mine.loc[both].steps/base.loc[both].steps).mean()
        out.append(dict(settings=c, sets=len(by_set), runs=len(mine), steps=f'{steps:.1f}' if steps == steps else '',
                        **{'on its own series': f'{m.train_accuracy*100:.1f}' if m.train_accuracy == m.train_accuracy else ''},
                        accuracy=f'{m.accuracy*100:.2f}', **{'against base there': f'{d.accuracy*100:+.2f} ± {se.accuracy*100:.2f}'},
                        **{'log loss': f'{m.log_loss:.3f}', 'against base': f'{d.log_loss:+.3f} ± {se.log_loss:.3f}'}))
    return pd.DataFrame(out)

BY_FIT = ('What 1,500 steps instead of those of 150 epochs change, by how well the shorter training fits its own series: its '
          'training loss in the last epoch, as a share of the log of the number of classes, which is the loss of guessing. The '
          'bands were chosen after the fact, and the highest holds FCN and XceptionTime alone: InceptionTime fitted every sample.')

def search_by_fit():
    "Where more steps helped in the search of the recipe, by the training loss without them; None without such rows"
    rows = pd.DataFrame(read_rows(RESULTS/'recipe_search.csv'))
    if not len(rows): return None
    longer = rows[rows.config.str.fullmatch(r'(\w+ )?s1500')].assign(config=lambda d: d.config.str.replace('s1500', 'base'))
    d = longer.merge(rows, on=['config', 'dataset', 'seed'], suffixes=('', '_base'))
    d = d[d.train_loss_base.ne('')]
    if not len(d): return None
    number = lambda k: pd.to_numeric(d[k])
    share = number('train_loss_base')/np.log(number('classes'))
    change = pd.DataFrame(dict(accuracy=100*(number('accuracy') - number('accuracy_base')),
                               loss=number('log_loss') - number('log_loss_base')))
    bands = change.groupby(pd.cut(share, [0, .03, .2, np.inf], labels=['below 3 %', '3 % to 20 %', 'above 20 %']), observed=True)
    return pd.DataFrame([{'training loss': k, 'runs': len(g), 'accuracy': f'{g.accuracy.mean():+.1f} ± {g.accuracy.sem():.1f}',
                          'better, worse': f'{(g.accuracy > 0).sum()}, {(g.accuracy < 0).sum()}',
                          'log loss': f'{g.loss.mean():+.2f} ± {g.loss.sem():.2f}',
                          'better, worse there': f'{(g.loss < 0).sum()}, {(g.loss > 0).sum()}'} for k, g in bands])

def render(out=RESULTS):
    "Write the table and the diagrams; the text of the page comes from the docs"
    from tsfast.sweeps.ranking import said_of_tests
    write_ensembles()
    rows = measured()
    parts = [HEAD, '## Means over data sets', to_markdown(means(), index=False)]
    uni = [m for m in PUBLISHED if m in set(rows.model)]
    diagrams = dict(univariate=compared([m for m in uni if {*GROUPS['telling']} <= {*rows[rows.model == m].dataset}],
                                        datasets=GROUPS['univariate']))
    for name, s in diagrams.items():
        if len(s) > 4 and s.shape[1] > 2:
            cd_diagram(s, out/f'accuracy_{name}.svg')
            picture = f"![Mean ranks of tsfast's models and of published methods over {len(s)} data sets](accuracy_{name}.svg)"
            parts += ['## Critical differences', picture, said_of_tests(*s.shape), f'Over: {", ".join(s.index)}.']
    fixed = [m for m in uni if m.endswith('+ ridge') or m == 'TSForestClassifier']
    parts += ['## Every data set: networks', to_markdown(table([m for m in uni if m not in fixed])),
              '## Every data set: fixed features', to_markdown(table(fixed)), '## Architectures without a published figure here',
              to_markdown(table(sorted(set(rows.model) - set(PUBLISHED)))) if set(rows.model) - set(PUBLISHED) else 'None yet.',
              '## Not measured yet', to_markdown(missing(), index=False)]
    if (s := search_table()) is not None: parts += ['## The search for the recipe', SEARCH, to_markdown(s, index=False)]
    if (s := search_by_fit()) is not None: parts += [BY_FIT, to_markdown(s, index=False)]
    (out/'accuracy.md').write_text('\n\n'.join(parts) + '\n', encoding='utf-8')
    return out/'accuracy.md'
