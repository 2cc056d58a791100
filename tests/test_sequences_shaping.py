"""Windows, padding, scaling and words against plain numpy; and what a model does not take, with what would fit."""

import json

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import explain_core as xc
from explain_core.errors import ExplainError, InputError, SequenceFileError
from explain_core.explanation.own_units import in_own_units
from explain_core.figures import cell_detail
from explain_core.models.loaded import ExpectedInput
from explain_core.sequences import Options, Scaling, Vocabulary, single
from explain_core.sequences.cutting import cut
from explain_core.sequences.fitting import fit, ids_in_a_row
from explain_core.sequences.formats import read_file
from explain_core.sequences.labelled import label, label_ragged
from explain_core.sequences.loading import chosen_columns
from explain_core.sequences.scaling import scaled
from explain_core.sequences.vocabulary import encode_texts

RNG = np.random.default_rng(0)


def series(steps, features=2, samples=1, names=None):
    values = RNG.normal(size=(samples, steps, features))
    names = names or [f"f{i}" for i in range(features)]
    return label(values, [f"s{i}" for i in range(samples)], np.arange(1, steps + 1), names)


def spec(*shape, dtype="float32", name="x"):
    return ExpectedInput(name, shape, dtype)


class TestWindows:
    @pytest.mark.parametrize(("steps", "length", "stride"), [(10, 4, 3), (10, 10, 1), (11, 4, 4), (9, 1, 2), (7, 3, 1)])
    def test_against_slices(self, steps, length, stride):
        x = series(steps)
        found = cut(x, Options(window=length, stride=stride))
        starts = list(range(0, steps - length + 1, stride))
        starts += [steps - length] if starts[-1] != steps - length else []
        np.testing.assert_array_equal(found.values, np.stack([x.values[0, s : s + length] for s in starts]))
        assert list(found["sample"].values) == [f"{s + 1} to {s + length}" for s in starts]
        for i, start in enumerate(starts):
            assert list(single(found, i)["time"].values) == list(range(start + 1, start + length + 1))

    def test_each_sequence_by_itself_and_short_ones_left_out(self):
        parts = [RNG.normal(size=(n, 2)) for n in (5, 2, 4)]
        x = label_ragged(parts, ["a", "b", "c"], ["p", "q"])
        found = cut(x, Options(window=4, stride=1))
        assert list(found["sample"].values) == ["a, 1 to 4", "a, 2 to 5", "c, 1 to 4"]
        np.testing.assert_array_equal(found.values, [parts[0][:4], parts[0][1:5], parts[2]])

    def test_dates_name_the_windows(self):
        dates = np.array(["2024-01-30", "2024-01-31", "2024-02-01"], "datetime64[us]")
        x = label(np.ones((1, 3, 1)), ["a"], dates, ["v"])
        assert list(cut(x, Options(window=2))["sample"].values) == [
            "2024-01-30 to 2024-01-31",
            "2024-01-31 to 2024-02-01",
        ]

    def test_too_long_and_too_many(self, monkeypatch):
        with pytest.raises(InputError, match="No sequence has 9 timesteps; the longest has 5"):
            cut(series(5), Options(window=9))
        monkeypatch.setattr("explain_core.sequences.cutting.MAX_CELLS", 10)
        with pytest.raises(InputError, match="16 values together"):
            cut(series(5), Options(window=4))


class TestForms:
    def test_rows_that_are_whole_sequences(self):
        blocks = RNG.normal(size=(3, 4, 2))
        by_time = label(blocks.reshape(1, 3, 8), ["f"], np.arange(1, 4), [f"c{i}" for i in range(8)])
        by_feature = by_time.copy(data=blocks.transpose(0, 2, 1).reshape(1, 3, 8))
        np.testing.assert_array_equal(cut(by_time, Options(unfold=4)).values, blocks)
        np.testing.assert_array_equal(cut(by_feature, Options(unfold=4, unfold_order="feature")).values, blocks)
        with pytest.raises(InputError, match="8 columns cannot be 3 timesteps"):
            cut(by_time, Options(unfold=3))

    def test_rows_of_all_sequences_below_each_other(self):
        blocks = RNG.normal(size=(50, 30, 132)).astype(np.float32)
        flat = label(blocks.reshape(1, 1500, 132), ["f"], np.arange(1500), [f"c{i}" for i in range(132)])
        np.testing.assert_array_equal(cut(flat, Options(window=30, stride=30)).values, blocks)

    def test_transpose_and_last(self):
        x = series(5, 2)
        np.testing.assert_array_equal(cut(x, Options(transpose=True)).values, x.values.transpose(0, 2, 1))
        np.testing.assert_array_equal(cut(x, Options(last=3)).values, x.values[:, -3:])
        ragged = label_ragged([np.ones((4, 1)), 2 * np.ones((2, 1))], ["a", "b"], ["v"])
        found = cut(ragged, Options(last=3))
        assert list(found["length"].values) == [3, 2]

    @pytest.mark.parametrize(("kind", "blank"), [("zero", 0.0), ("nan", np.nan)])
    def test_trailing_padding_only_when_asked(self, kind, blank):
        blanks = [[blank, blank]]
        values = np.array([[[1.0, 2], [0, 0], [3, 4], *blanks], [[1, 1], *blanks * 3]])
        x = label(values, ["a", "b"], np.arange(4), ["p", "q"])
        assert "length" not in cut(x, Options()).coords
        found = cut(x, Options(padding=kind))
        assert list(found["length"].values) == [3, 1]
        np.testing.assert_array_equal(found.values[0], values[0, :3])
        np.testing.assert_array_equal(found.values[1], [[1, 1], [0, 0], [0, 0]])

    def test_padding_to_a_length(self):
        x = series(3)
        end, start = cut(x, Options(pad=5)), cut(x, Options(pad=5, pad_where="start"))
        np.testing.assert_array_equal(end.values, np.pad(x.values, ((0, 0), (0, 2), (0, 0))))
        np.testing.assert_array_equal(start.values, np.pad(x.values, ((0, 0), (2, 0), (0, 0))))
        assert list(end["length"].values) == [3]
        assert "length" not in start.coords

    @pytest.mark.parametrize("options", [{"window": 0}, {"stride": 1.5}, {"fill": "mean"}, {"decimal": ";"}])
    def test_options_are_checked(self, options):
        with pytest.raises(InputError):
            Options(**options)


SCALINGS = {
    "csv": "feature,mean,scale\nq,5,4\np,1,2\n",
    "deviation": "name,mean,std\np,1,2\nq,5,4\n",
    "range": "feature,min,max\np,1,3\nq,5,9\n",
    "by feature": json.dumps({"p": {"mean": 1, "scale": 2}, "q": {"mean": 5, "scale": 4}}),
    "by quantity": json.dumps({"mean": {"p": 1, "q": 5}, "scale": {"p": 2, "q": 4}}),
    "records": json.dumps([{"feature": "p", "mean": 1, "std": 2}, {"feature": "q", "mean": 5, "std": 4}]),
    "lists": json.dumps({"mean": [1, 5], "scale": [2, 4]}),
    "standard scaler": json.dumps({"mean_": [1, 5], "scale_": [2, 4], "var_": [4, 16]}),
    "variance": json.dumps({"mean_": [1, 5], "var_": [4, 16]}),
    "min-max scaler": json.dumps({"min_": [-0.5, -1.25], "scale_": [0.5, 0.25], "data_min_": [1, 5]}),
    "robust scaler": json.dumps({"center_": [1, 5], "scale_": [2, 4]}),
}


class TestScaling:
    @pytest.mark.parametrize("form", SCALINGS)
    def test_every_form_of_file(self, tmp_path, form):
        path = tmp_path / "scaler"
        path.write_text(SCALINGS[form])
        x = series(6, names=["p", "q"])
        found = scaled(x, Scaling.load(path))
        np.testing.assert_allclose(found.values, (x.values - [1, 5]) / [2, 4], rtol=1e-12)
        np.testing.assert_allclose(in_own_units(found).values, x.values, rtol=1e-12)

    def test_from_the_sequences_themselves(self):
        x = label_ragged([RNG.normal(3, 2, size=(n, 2)) for n in (9, 4)], ["a", "b"], ["p", "q"])
        real = np.concatenate([x.values[0], x.values[1, :4]])
        standard = scaled(x, Scaling.of(x))
        np.testing.assert_allclose(standard.values[0], ((x.values - real.mean(0)) / real.std(0))[0], rtol=1e-12)
        assert (standard.values[1, 4:] == 0).all()
        span = scaled(x, Scaling.of(x, "minmax")).values[0]
        np.testing.assert_allclose(span, (x.values[0] - real.min(0)) / np.ptp(real, axis=0), rtol=1e-12)

    def test_a_constant_feature_is_only_moved(self):
        scaling = Scaling.of(label(np.full((1, 3, 1), 7.0), ["a"], np.arange(3), ["p"]))
        assert scaling.scale == 1
        assert "p" in scaling.notes[0]

    @pytest.mark.parametrize(
        ("text", "what"),
        [
            ("feature,mean,scale\np,1,2\n", "nothing for q"),
            ('{"mean": [1], "scale": [2]}', "1 features; the sequences have 2"),
            ('{"mean": [1, 2], "scale": [1]}', "not one finite mean and scale"),
            ('{"mean": [1, 2], "scale": [1, -1]}', "negative"),
            ('{"mean": [1, 2], "scale": [1, "x"]}', "not a number"),
            ('{"mean": [1, 2], "scale": [1, NaN]}', "not finite"),
            ('{"weights": [1, 2]}', "No mean and scale"),
            ("feature,mean,scale\np,1,2\np,1,2\n", "twice"),
            ("feature,mean,scale\np,1,x\nq,1,2\n", "'x' is not a finite number"),
            ("[1, 2]", "No mean and scale"),
        ],
    )
    def test_errors(self, tmp_path, text, what):
        path = tmp_path / "scaler"
        path.write_text(text)
        with pytest.raises(ExplainError) as caught:
            Scaling.load(path).matched(["p", "q"])
        assert what in caught.value.what


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(2, 4, batch_first=True)
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 3)
        self.lstm = nn.LSTM(3, 4, batch_first=True)
        self.head = nn.Linear(4, 1)

    def forward(self, x):
        return self.head(self.lstm(self.embedding(x))[0][:, -1])


def test_scaling_changes_no_attribution_and_figures_show_the_own_units(tmp_path):
    torch.manual_seed(0)
    model, own = Model().double().eval(), series(6, names=["p", "q"])
    own = own * 4 + 20
    scaling = Scaling.of(own)
    fitted = fit(own, [spec(None, None, 2, dtype="float64")], "here", scaling)
    found = xc.explain(model, fitted)
    plain = xc.explain(model, ((own.values - scaling.offset) / scaling.scale))
    np.testing.assert_array_equal(found.attributions.values, plain.attributions.values)
    found.save(tmp_path / "run.nc")
    again = xc.Explanation.load(tmp_path / "run.nc")
    np.testing.assert_allclose(in_own_units(again.inputs).values, own.values, rtol=1e-12)
    np.testing.assert_allclose(in_own_units(again.baselines).values[0, 0], scaling.offset, rtol=1e-12)
    cell = cell_detail(again, 0, 0, 3, "q")  # timesteps are counted from 1
    assert cell["input"] == pytest.approx(own.values[0, 2, 1])
    assert cell["baseline"] == pytest.approx(scaling.offset[1])
    assert cell["attribution"] == found.attributions.values[0, 2, 1]


VOCABULARIES = {
    "object": json.dumps({"the": 2, "cat": 3, "sat": 4}),
    "list": json.dumps(["[PAD]", "[UNK]", "the", "cat", "sat"]),
    "lines": "[PAD]\n[UNK]\nthe\ncat\nsat\n",
    "lines with ids": "the 2\ncat 3\nsat 4\n",
    "id to word": json.dumps({"2": "the", "3": "cat", "4": "sat"}),
    "inside": json.dumps({"word_index": {"the": 2, "cat": 3, "sat": 4}}),
}


class TestWords:
    @pytest.mark.parametrize("form", VOCABULARIES)
    def test_every_form_of_vocabulary(self, tmp_path, form):
        (tmp_path / "v").write_text(VOCABULARIES[form])
        (tmp_path / "t.txt").write_text("the cat sat\nthe dog\n")
        found = xc.load_sequences(tmp_path / "t.txt", vocabulary=tmp_path / "v")
        has_unknown = "[UNK]" in VOCABULARIES[form]
        assert found.values.tolist() == [[2, 3, 4], [2, 1 if has_unknown else 0, 0]]
        assert list(found["length"].values) == [3, 2 if has_unknown else 1]
        assert found.attrs["unknown"] == ["dog"]
        assert "dog" in found.attrs["notes"][-1]
        assert list(found["token"].values[0]) == ["the", "cat", "sat"]

    def test_a_keras_tokenizer(self, tmp_path):
        config = {"lower": True, "filters": "!.,", "oov_token": "<OOV>", "num_words": 4, "char_level": False}
        config["word_index"] = json.dumps({"<OOV>": 1, "the": 2, "cat": 3, "sat": 4})
        (tmp_path / "v").write_text(json.dumps({"class_name": "Tokenizer", "config": config}))
        vocabulary = Vocabulary.load(tmp_path / "v")
        assert vocabulary.encode("The cat, SAT!")[0] == [2, 3, 1]  # num_words leaves out the rare ones
        assert vocabulary.encode("The cat, SAT!")[2] == ["sat"]

    def test_characters_offset_and_case(self):
        assert Vocabulary({"a": 1, "b": 2}, characters=True).encode("ab")[0] == [1, 2]
        assert Vocabulary({"a": 1}, offset=3, unknown=2, lower=True).encode("A x")[0] == [4, 2]

    @pytest.mark.parametrize(
        ("text", "what"),
        [
            ('{"the": 2, "cat": 2}', "Two words have the id 2"),
            ("the 900\ncat 900\n", "Two words have the id 900"),
            ('{"the": "x"}', "The id of 'the' is x"),
            ('{"the": true}', "The id of 'the' is True"),
            ('["the", "the"]', "'the' is there twice"),
            ("the\ncat\nthe\n", "'the' is there twice"),
            ('{"model": {"vocab": {}}}', "splits words into pieces"),
            ('{"class_name": "Tokenizer", "config": {}}', "no word_index"),
            ("{}", "not a vocabulary"),
        ],
    )
    def test_errors(self, tmp_path, text, what):
        (tmp_path / "v").write_text(text)
        with pytest.raises(SequenceFileError) as caught:
            Vocabulary.load(tmp_path / "v")
        assert what in caught.value.what

    @pytest.mark.parametrize(
        ("name", "content", "names"),
        [
            ("t.csv", 'id,review\nx,"the cat, sat"\ny,the\n', ["x", "y"]),
            ("t.json", '["the cat, sat", "the"]', ["text 1", "text 2"]),
            ("t.txt", "the cat, sat\n\nthe\n", ["line 1", "line 3"]),
        ],
    )
    def test_files_of_texts(self, tmp_path, name, content, names):
        (tmp_path / name).write_text(content)
        (tmp_path / "v").write_text('{"the": 1, "cat,": 2, "sat": 3}')
        found = xc.load_sequences(tmp_path / name, vocabulary=tmp_path / "v")
        assert list(found["sample"].values) == names
        assert found.values.tolist() == [[1, 2, 3], [1, 0, 0]]

    def test_no_known_word_is_an_error_that_lists_some(self):
        with pytest.raises(InputError, match="'Dog'"):
            encode_texts(["Dog"], Vocabulary({"the": 1}))

    def test_words_reach_the_result_and_short_texts_are_filled_up(self):
        torch.manual_seed(0)
        vocabulary = Vocabulary({"the": 2, "cat": 3}, padding=9)
        one = single(encode_texts(["the cat", "the the the"], vocabulary), 0)
        end = fit(one, [spec(None, 4, dtype="int64")], "here", pad_tokens=(9, "end"))
        start = fit(one, [spec(None, 4, dtype="int64")], "here", pad_tokens=(9, "start"))
        assert end.values.tolist() == [[2, 3, 9, 9]]
        assert start.values.tolist() == [[9, 9, 2, 3]]
        found = xc.explain(Words().eval(), start)
        assert list(found.inputs["token"].values[0]) == ["·", "·", "the", "cat"]
        assert cell_detail(found, 0, 0, 4)["token"] == "cat"
        assert float(found.relative_residual.max()) < 1e-5


class TestFit:
    def fixes(self, one, *inputs):
        with pytest.raises(InputError) as caught:
            fit(one, inputs, "model")
        return caught.value

    @pytest.mark.parametrize(
        ("x", "expected", "changes"),
        [
            (series(3, 5), spec(None, 5, 3), {"transpose": True}),
            (series(1, 12), spec(None, 4, 3), {"unfold": 4}),
            (series(7, 12), spec(None, 4, 3), {"unfold": 4}),
            (series(9, 2), spec(None, 4, 2), {"last": 4}),
            (series(3, 2), spec(None, 4, 2), {"pad": 4, "pad_where": "start"}),
            (series(6, 3, names=["p", "row", "q"]), spec(None, None, 2), {"columns": ("p", "q")}),
            (series(6, 2), spec(None, 4), {"last": 2}),
            (series(6, 4), spec(None, 4), {"unfold": 1}),
        ],
    )
    def test_the_first_fix_makes_it_fit(self, tmp_path, x, expected, changes):
        error = self.fixes(x, expected)
        assert error.fixes[0].changes == changes
        options = Options().changed(changes)
        reading = read_file(self.written(tmp_path, x), Options(columns=options.columns))
        fitted = fit(single(cut(chosen_columns(reading, options), options), 0), [expected], "model")
        assert all(want in (None, size) for want, size in zip(expected.shape, fitted.shape, strict=True))

    def written(self, tmp_path, x):
        names = [str(name) for name in x["feature"].values]
        rows = [",".join(names), *(",".join(repr(float(v)) for v in row) for row in x.values[0])]
        path = tmp_path / "x.csv"
        path.write_text("\n".join(rows))
        return path

    def test_a_column_that_counts_sequences_is_offered_as_such(self):
        values = np.column_stack([np.repeat([1.0, 2, 3], 4), RNG.normal(size=12), RNG.normal(size=12)])
        x = label(values[None], ["a"], np.arange(12), ["engine", "p", "q"])
        error = self.fixes(x, spec(None, None, 2))
        assert [fix.changes for fix in error.fixes[:2]] == [{"id_column": "engine"}, {"columns": ("p", "q")}]
        assert "takes 2 features; the sequence has 3: engine, p, q" in error.what

    def test_windows_and_whole_blocks(self):
        error = self.fixes(series(12, 2), spec(None, 4, 2))
        assert {"window": 4, "stride": 1} in [fix.changes for fix in error.fixes]
        assert {"window": 4, "stride": 4} in [fix.changes for fix in error.fixes]

    def test_too_few_features_cannot_be_fixed(self):
        error = self.fixes(series(4, 2), spec(None, None, 3))
        assert error.fixes == ()
        assert "Add 1 column:" in error.hint

    def test_models_that_reshape_inside_take_the_steps_side_by_side(self):
        x = series(3, 2, names=["p", "q"])
        fitted = fit(x, [spec(None, 6)], "model", Scaling(np.array([1.0, 2]), np.array([2.0, 4])))
        np.testing.assert_allclose(fitted.values, ((x.values - [1, 2]) / [2, 4]).reshape(1, 6), rtol=1e-6)
        assert list(fitted["feature"].values) == ["p @ 1", "q @ 1", "p @ 2", "q @ 2", "p @ 3", "q @ 3"]
        np.testing.assert_allclose(in_own_units(fitted).values, x.values.reshape(1, 6), rtol=1e-5)

    def test_a_mask_or_a_length_beside_the_sequence(self):
        x = series(3, 2)
        fitted = fit(x, [spec(None, 5, 2), spec(None, 5, dtype="bool", name="mask")], "model")
        assert fitted["mask"].tolist() == [[True, True, True, False, False]]
        assert fitted["x"].shape == (1, 5, 2)
        fitted = fit(x, [spec(None, None, 2), spec(None, dtype="int64", name="n")], "model")
        assert fitted["n"].tolist() == [3]

    def test_ids(self):
        ids = label(np.array([[[1.0], [4], [2]]]), ["a"], np.arange(3), ["id"])
        assert fit(ids, [spec(None, None, dtype="int64")], "m").values.tolist() == [[1, 4, 2]]
        rows = label(np.array([[[1.0, 4, 2], [3, 0, 0]]]), ["a"], np.arange(2), ["a", "b", "c"])
        error = self.fixes(rows, spec(None, 3, dtype="int64"))
        unfolded = cut(rows, Options().changed(error.fixes[0].changes))
        assert fit(single(unfolded, 1), [spec(None, 3, dtype="int64")], "m").values.tolist() == [[3, 0, 0]]
        assert "whole number" in self.fixes(ids + 0.5, spec(None, None, dtype="int64")).what

    def test_one_row_of_ids_is_one_sequence(self):
        row = label(np.array([[[5, 12, 7, 3]]]), ["a"], np.arange(1, 2), ["w1", "w2", "w3", "w4"])
        found = fit(row, [spec(None, None, dtype="int64")], "m")
        assert found.dims == ("sample", "time")
        assert found.values.tolist() == [[5, 12, 7, 3]]
        assert found["time"].values.tolist() == [1, 2, 3, 4]
        assert ids_in_a_row(ids_in_a_row(row)).shape == (1, 4, 1)
        error = self.fixes(ids_in_a_row(row), spec(None, 3, dtype="int64"))
        assert cut(ids_in_a_row(row), Options().changed(error.fixes[0].changes)).values.ravel().tolist() == [12, 7, 3]

    def test_one_timestep(self):
        assert fit(series(1, 3), [spec(None, 1, 3)], "m").shape == (1, 1, 3)


def test_columns_of_arrays_can_be_chosen(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(2, 3))
    found = xc.load_sequences(tmp_path / "x.npy", columns=["feature 3", "feature 1"])
    np.testing.assert_array_equal(found.values[0], [[2, 0], [5, 3]])


def test_everything_at_once_reaches_explain(tmp_path):
    torch.manual_seed(0)
    rows = ["date;a;b;c", *(f"{i + 1:02d}.01.2024;{i},5;{i * i};{-i}" for i in range(20))]
    (tmp_path / "x.csv").write_text("\n".join(rows))
    (tmp_path / "s.csv").write_text("feature,mean,scale\na,9,5\nc,-9,5\n")
    found = xc.load_sequences(tmp_path / "x.csv", columns=["c", "a"], window=5, stride=5, scaling=tmp_path / "s.csv")
    assert isinstance(found, xr.DataArray)
    assert found.shape == (4, 5, 2)
    result = xc.explain(Model().eval(), found.astype("float32"), baselines="zeros")
    assert float(result.relative_residual.max()) < 1e-5
    np.testing.assert_allclose(in_own_units(result.inputs).values[1, 0], [-5, 5.5], rtol=1e-6)
    assert result.inputs["time_label"].values[1, 0] == np.datetime64("2024-01-06")


class TestAFileInTheWrongPlace:
    """A vocabulary where the sequence belongs, and a model that takes one number of timesteps only."""

    WORDS = ("<pad>", "<unk>", "the", "film", "was", "good")

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("v.txt", "\n".join(WORDS)),
            ("v.csv", "word\n" + "\n".join(WORDS)),
            ("v.tsv", "\n".join(f"{word}\t{i}" for i, word in enumerate(WORDS))),
            ("v.json", json.dumps({word: i for i, word in enumerate(WORDS)})),
            ("v.json", json.dumps(WORDS)),
        ],
    )
    def test_a_vocabulary_is_recognised(self, tmp_path, name, text):
        (tmp_path / name).write_text(text)
        with pytest.raises(SequenceFileError, match="looks like a vocabulary") as refused:
            xc.load_sequences(tmp_path / name)
        assert "give this file as its vocabulary, and the text here" in refused.value.hint

    @pytest.mark.parametrize(
        "text",
        [
            "activity\nwalk\nrun\nwalk\nsit\nrun\nsit\n",  # words that repeat
            "".join(f"{word},{7 * i}\n" for i, word in enumerate(WORDS)),  # names of steps, and numbers
            "text\nhow good it was\nnot so good\na film\nlike that\nsome other\n",
        ],
    )
    def test_other_words_are_not(self, tmp_path, text):
        (tmp_path / "x.csv").write_text(text)
        with pytest.raises(SequenceFileError, match="is not a finite number"):
            xc.load_sequences(tmp_path / "x.csv")

    @pytest.mark.parametrize("steps", [3, 9])
    def test_another_length_leads_to_the_lines_that_leave_it_open(self, steps):
        with pytest.raises(InputError, match=f"exactly 5 timesteps; the sequence has {steps}") as refused:
            fit(series(steps, 2), [spec(None, 5, 2)], "m")
        lines = [line for line in refused.value.hint.splitlines() if line.startswith("    ")]
        compile("\n".join(line.strip() for line in lines), "hint", "exec")
        assert any("torch.jit.trace(model.eval(), (torch.randn(2, 5, 2),))" in line for line in lines)
        assert any("keras.Input((None, 2))" in line for line in lines)
