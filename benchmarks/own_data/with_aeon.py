"The tasks with aeon 1.6.0"
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from aeon.classification.convolution_based import MiniRocketClassifier
from aeon.transformations.collection.unequal_length import Padder
from sklearn.model_selection import GroupShuffleSplit


def windows(file):
    "Windows of the recordings in a table, labelled by their last step; validation on other subjects"
    df = pd.read_csv(file).sort_values(['subject', 'time'])
    X, y, subjects = [], [], []
    for subject, rows in df.groupby('subject'):
        values = rows[['ax', 'ay', 'az']].to_numpy().T
        for start in range(0, len(rows) - 99, 50):
            X.append(values[:, start:start + 100])
            y.append(rows['activity'].iloc[start + 99])
            subjects.append(subject)
    X, y = np.stack(X), np.array(y)
    train, valid = next(GroupShuffleSplit(1, test_size=.2, random_state=0).split(X, y, subjects))
    model = MiniRocketClassifier()
    model.fit(X[train], y[train])
    print(model.score(X[valid], y[valid]))
    return model


def recordings(folder):
    "A folder of recordings of unequal length; validation on other subjects"
    labels = pd.read_csv(Path(folder)/'labels.csv')
    series = [pd.read_csv(Path(folder)/name).to_numpy().T for name in labels['file']]
    X, y = Padder().fit_transform(series), labels['activity'].to_numpy()
    train, valid = next(GroupShuffleSplit(1, test_size=.2, random_state=0).split(X, y, labels['subject']))
    model = MiniRocketClassifier()
    model.fit(X[train], y[train])
    print(model.score(X[valid], y[valid]))
    return model


def predict(model, file):
    "The windows of a new recording, as a table"
    df = pd.read_csv(file)
    values, start = df[['ax', 'ay', 'az']].to_numpy().T, np.arange(0, len(df) - 99, 50)
    X = np.stack([values[:, i:i + 100] for i in start])
    probas = model.predict_proba(X)
    table = pd.DataFrame(dict(start=df['time'].to_numpy()[start], end=df['time'].to_numpy()[start + 99]))
    table['label'] = model.classes_[probas.argmax(1)]
    for i, c in enumerate(model.classes_): table[f'p({c})'] = probas[:, i]
    return table


if __name__ == '__main__':
    model = windows(f'{sys.argv[1]}/gait.csv')
    print(predict(model, f'{sys.argv[1]}/new.csv').head())
    recordings(f'{sys.argv[1]}/recordings')
