"Series from tables: separators, headers, labels, encodings, and what cannot be read"
import warnings

import numpy as np
import pytest

from tsfast.data.tables import read_series


@pytest.mark.parametrize('header,body,labels', [
    ('0,1,2\n', '5.5,6,7\n8,9,1\n', None),                        # pandas, without index
    (',0,1,2\n', '0,5.5,6,7\n1,8,9,1\n', None),                   # pandas, with its index
    ('0,1,2,3\n', '2,5.5,6,7\n1,8,9,1\n', ['2', '1']),            # pandas, with a label in the first column
    ('label,a,b,c\n', '2,5.5,6,7\n1,8,9,1\n', ['2', '1']),
    ('a,b,c,label\n', '5.5,6,7,2\n8,9,1,1\n', ['2', '1']),
    ('', '2,5.5,6,7\n1,8,9,1\n', ['2', '1']),
    ('', 'up,5.5,6,7\ndown,8,9,1\n', ['up', 'down']),
    ('', '5.5,6,7\n8,9,1\n', None),
    ('id,0,1,2\n', '0,5.5,6,7\n1,8,9,1\n', None),                # an id, and the numbers of pandas
    ('ID,t0,t1,t2\n', 'p7,5.5,6,7\np8,8,9,1\n', None),
    ('0,1,2,label\n', '5.5,6,7,2\n8,9,1,1\n', ['2', '1']),
    ('0,1,2,klasse\n', '5.5,6,7,2\n8,9,1,1\n', ['2', '1']),     # one cell of text: the label stands there
    ('klasse,0,1,2\n', '2,5.5,6,7\n1,8,9,1\n', ['2', '1']),
    ('klasse,0,1,2\n', 'up,5.5,6,7\ndown,8,9,1\n', ['up', 'down']),
    ('0,1,2,klasse\n', '5.5,6,7,up\n8,9,1,down\n', ['up', 'down']),
    ('0.0,0.1,0.2,klasse\n', '5.5,6,7,2\n8,9,1,1\n', ['2', '1']),
    ('2022,2021,2020,klasse\n', '5.5,6,7,2\n8,9,1,1\n', ['2', '1']), ('klasse,7,3,12\n', '2,5.5,6,7\n1,8,9,1\n', ['2', '1']),
    ('t0,t1,t2,klasse\n', '5.5,6,7,2\n8,9,1,1\n', ['2', '1']),  # the odd one out
    ('a,b,c,d\n', '5.5,6,7,up\n8,9,1,down\n', ['up', 'down']),  # what stands below
    ('id,0,1,2,label\n', '0,5.5,6,7,2\n1,8,9,1,1\n', ['2', '1']),
    ('id,label,t0,t1,t2\n', '0,2,5.5,6,7\n1,1,8,9,1\n', ['2', '1']),
    (',0,1,2,class\n', '0,5.5,6,7,2\n1,8,9,1,1\n', ['2', '1']),
    ('0,1,2,id\n', '5.5,6,7,10\n8,9,1,11\n', None),
    ('', '5.5,6,7,up\n8,9,1,down\n', ['up', 'down'])])
@pytest.mark.filterwarnings('ignore:.*(is read as names of columns|could both be the label):UserWarning')
def test_tables(tmp_path, header, body, labels):
    "A line of names is no series, an index no label"
    f = tmp_path/'a.csv'; f.write_text(header + body)
    got, y = read_series(f, 1, 3)
    assert got[:, 0].tolist() == [[5.5, 6, 7], [8, 9, 1]]
    assert (y if y is None else y.tolist()) == labels

COMMAS = [[1.5, 2.5, 3.5, 4.5], [2.5, 3.5, 4.5, 5.5]]
RAMP = [[0, 1, 2, 3], [5, 6, 7, 8]]

@pytest.mark.parametrize('sep', [';', '\t'])
@pytest.mark.parametrize('body,series,labels', [
    ('1,5;2,5;3,5;4,5\n2,5;3,5;4,5;5,5\n', COMMAS, None),
    ('1;1,5;2,5;3,5;4,5\n2;2,5;3,5;4,5;5,5\n', COMMAS, ['1', '2']),
    ('1,5;2,5;3,5;4,5;1\n2,5;3,5;4,5;5,5;2\n', COMMAS, ['1', '2']),
    ('1,5;2,5;3,5;4,5;up\n2,5;3,5;4,5;5,5;down\n', COMMAS, ['up', 'down']),
    ('a;b;c;d\n1,5;2,5;3,5;4,5\n2,5;3,5;4,5;5,5\n', COMMAS, None)])
def test_tables_with_decimal_commas(tmp_path, sep, body, series, labels):
    "A row of them is no line of names, and the label is found as with points"
    f = tmp_path/'a.csv'; f.write_text(body.replace(';', sep))
    got, y = read_series(f, 1, 4)
    assert got[:, 0].tolist() == series and (y if y is None else y.tolist()) == labels

@pytest.mark.parametrize('body,labels', [
    ('1.5,2.5,3.5,4.5,1\n2.5,3.5,4.5,5.5,2\n', ['1', '2']),                   # whole numbers
    ('1.5,2.5,3.5,4.5,1.0\n2.5,3.5,4.5,5.5,2.0\n', ['1.0', '2.0']),
    ('1,1.5,2.5,3.5,4.5\n2,2.5,3.5,4.5,5.5\n', ['1', '2']),
    ('1.5,2.5,3.5,4.5,0.5\n2.5,3.5,4.5,5.5,0.5\n', ['0.5', '0.5']),           # one that comes again
    ('a,b,c,d,species\n1.5,2.5,3.5,4.5,1\n2.5,3.5,4.5,5.5,2\n', ['1', '2']),
    ('1.5,2.5,3.5,4.5,2\n2.5,3.5,4.5,5.5,up\n', ['2', 'up']),                 # text, once
    ('1.5,2.5,3.5,4.5,null\n2.5,3.5,4.5,5.5,up\n', ['null', 'up'])])
def test_label_is_found_by_its_values(tmp_path, body, labels):
    "Without a warning, where one column alone can be the label"
    f = tmp_path/'a.csv'; f.write_text(body)
    got, y = read_series(f, 1, 4)
    assert got[:, 0].tolist() == COMMAS and y.tolist() == labels

@pytest.mark.parametrize('body,labels', [('1,5,6,7\n2,8,9,1\n', ['1', '2']), ('.1,5,6,.7\n.2,8,9,.3\n', ['.1', '.2']), ('a,b,c,d\n1,5,6,7\n2,8,9,1\n', ['1', '2'])])
def test_label_that_could_be_at_both_ends(tmp_path, body, labels):
    f = tmp_path/'a.csv'; f.write_text(body)
    with pytest.warns(UserWarning, match=r"a.csv: the first column and the last one could both be the label; the first one is taken.*'label'"): y = read_series(f, 1, 3)[1]
    assert y.tolist() == labels

@pytest.mark.parametrize('body,series,labels,said', [
    ('0,1,2,3\n5,6,7,8\n', RAMP, None, 'a series'),
    ('0,1,2,3\n', RAMP[:1], None, 'a series'),
    ('0,1,2,3\n-5,6,7,8\n', [[0, 1, 2, 3], [-5, 6, 7, 8]], None, 'a series'),
    ('0,1,2,3,walk\n5,6,7,8,run\n', RAMP, ['walk', 'run'], 'a series'),
    ('walk,0,1,2,3\nrun,5,6,7,8\n', RAMP, ['walk', 'run'], 'a series'),
    ('0,1,2,3\n1.5,2.5,3.5,4.5\n2.5,3.5,4.5,5.5\n', COMMAS, None, 'names of columns'),
    ('0,1,2,3,kind\n1.5,2.5,3.5,4.5,walk\n2.5,3.5,4.5,5.5,run\n', COMMAS, ['walk', 'run'], 'names of columns'),
    ('0,1,2,3,label\n0,1,2,3,walk\n5,6,7,8,run\n', RAMP, ['walk', 'run'], None),     # a name is evidence
    (',0,1,2,3\n0,0,1,2,3\n1,5,6,7,8\n', RAMP, None, None),
    ('a,b,c,d\n0,1,2,3\n5,6,7,8\n', RAMP, None, None),
    ('y,0,1,2,3\nn,5,6,7,8\n', RAMP[1:], ['n'], 'names of columns'), ('y,0,1,2,3\ny,5,6,7,8\n', RAMP, ['y', 'y'], None),     # yes and no
    ('y,0,1,2,3\n7,5,6,7,8\n', RAMP[1:], ['7'], None),
    ('walk,0,1,2,3\n?,5,6,7,8\n', RAMP, ['walk', '?'], 'a series')])
def test_first_line_that_counts(tmp_path, body, series, labels, said):
    "It is left out where something else shows that it holds names; a warning says what was made of it"
    f = tmp_path/'a.csv'; f.write_text(body)
    with warnings.catch_warnings(record=True) as w:
        warnings.simplefilter('always')
        got, y = read_series(f, 1, 4)
    assert got[:, 0].tolist() == series and (y if y is None else y.tolist()) == labels
    assert ['line 1: ' in str(o.message) and f'is read as {said}' in str(o.message) for o in w] == [True]*(said is not None)

@pytest.mark.parametrize('missing', ['', '?', 'NA', 'N/A', 'n/a', '#N/A', '<NA>', 'NULL', 'null', 'None', 'nan', 'NaN'])
def test_missing_values_of_tables(tmp_path, missing):
    "A first line without a single value is a series"
    f = tmp_path/'a.csv'; f.write_text(','.join([missing]*4) + f'\n1,2,{missing},4\n')
    got = read_series(f, 1, 4)[0][:, 0]
    assert np.isnan(got[0]).all() and np.array_equal(got[1], [1, 2, np.nan, 4], equal_nan=True)

@pytest.mark.parametrize('body', ['1,x,5.5\n2,3,4\n', '1,2,3\n4,x,5.5\n'])
def test_a_word_among_numbers_is_an_error(tmp_path, body):
    f = tmp_path/'a.csv'; f.write_text(body)
    with pytest.raises(ValueError, match=r'line \d, column 2: .*Expected numbers'): read_series(f, 1, 3)

def test_missing_first_line_is_a_series(tmp_path):
    f = tmp_path/'a.csv'; f.write_text('?,?,?\n1,2,3\n')
    assert len(read_series(f, 1, 3)[0]) == 2

@pytest.mark.parametrize('body,length', [('a,0\nb,6\na,7', 1), ('a,0,1\nb,5,6\na,1,1', 2), ('7,0,1,2,3\n4,5,6,7,8\n1,1,1,1,1', 4),
                                         ('up,.3,.1,.7\n1,.5,.6,.7\n2,.1,.2,.2', 3)])
@pytest.mark.filterwarnings('ignore:.*could both be the label:UserWarning')
def test_small_numbers_after_a_label_are_a_series(tmp_path, body, length):
    "And so is a text of its own before values that are no names"
    f = tmp_path/'a.csv'; f.write_text(body)
    assert len(read_series(f, 1, length)[0]) == 3

@pytest.mark.parametrize('enc', ['utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-16-be'])
@pytest.mark.parametrize('body', ['"a, left",5.5,6,7\n"b; ü",8,9,1\n', '"a, left";5.5;6;7\n"b; ü";8;9;1\n', '"a, left";5,5;6,0;7\n"b; ü";8;9;1e0\n', '"a, left"\t5.5\t6\t7\nb; ü\t8\t9\t1\n',
                                  'Klasse;t0;t1;t2\r\n"a, left";5,5;6;7\r\n\r\n"b; ü";8;9;1\r\n'])
def test_tables_of_other_countries(tmp_path, enc, body):
    "Semicolons and decimal commas, UTF-16 with and without a mark, separators in quotation marks"
    f = tmp_path/'a.csv'; f.write_bytes(body.encode(enc))
    got, y = read_series(f, 1, 3)
    assert got[:, 0].tolist() == [[5.5, 6, 7], [8, 9, 1]] and y.tolist() == ['a, left', 'b; ü']

@pytest.mark.parametrize('data,texts', [
    (b'gr\xfcn,1,2,3\n', ['a.csv', 'UTF-8', '0xfc']), ('1;2\n3;4\n', ['a.csv', 'line 1: 2 values', 'semicolons', '1 × 3 = 3', 'UTF-8']), ('1,2,3\n1,2\n', ['line 2: 2 values', 'commas']),
    ('1,5;2.5;3\n', ['commas', 'points']), ('1;2;3\n4;x;6\n', ['line 2', "'x'", 'semicolons', 'Expected numbers']), ('1 2\n'.encode('utf-16'), ['2 values', 'spaces', 'UTF-16']),
    ('1,2,3,4,5\n', ["call", "'id'", "'label'"]), ('"1,2,3\n' + '4,'*70000, ['a.csv']), ('1,2,3,\n4,5,6,\n', ['end in a separator']), ('a,b,c,\n1,2,3,\n', ['end in a separator']),
    ('a,b,c\n', ['no series']), ('up,1,2,3\n1,2,3\n', ['line 2: 3 values'])])
def test_tables_that_cannot_be_read(tmp_path, data, texts):
    "The message names the file, the encoding and the separator"
    f = tmp_path/'a.csv'; f.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(ValueError) as e: read_series(f, 1, 3)
    assert all(o in str(e.value) for o in texts) and len(str(e.value)) < 400

def test_what_is_no_file_of_series(tmp_path):
    (tmp_path/'recordings').touch()
    with pytest.raises(ValueError, match=r'recordings has no suffix. Expected .npy, .ts, .tsv, .csv or .txt'): read_series(tmp_path/'recordings', 1, 3)
    with pytest.raises(IsADirectoryError, match='is a folder'): read_series(tmp_path, 1, 3)

@pytest.mark.parametrize('name', ['sid', 'patient', 'subject_id', 'Trial'])
def test_ids_by_name(tmp_path, name):
    "The names that tell series apart in a data frame do so in a file"
    f = tmp_path/'a.csv'
    for head, row in ((f'{name},t0,t1,t2', '{},1.5,2,3'), (f't0,t1,t2,{name}', '1.5,2,3,{}')):
        f.write_text('\n'.join([head, *(row.format(f'00{i}') for i in range(3))]) + '\n')
        got, y = read_series(f, 1, 3)
        assert y is None and got[:, 0].tolist() == [[1.5, 2, 3]]*3
    f.write_text(f'{name},t0,t1,t2,label\n001,1.5,2,3,a\n002,1.5,2,3,b\n')
    assert read_series(f, 1, 3)[1].tolist() == ['a', 'b']
