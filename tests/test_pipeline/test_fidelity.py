"""The fidelity report, where the truth is known: a linear network, which its linearisation predicts exactly."""

import copy
import sys
from dataclasses import replace

import numpy as np
import pytest
from fidelity_cases import CONVERGED, LINEAR, Quiet, make_run
from peers import needs_neural_tangents
from scipy import stats

import reference
from linearize import CRITERIA, Measure
from pipeline import seeds
from pipeline.fidelity import measure as measuring
from pipeline.fidelity.agreement import Interval, compare, cosine
from pipeline.fidelity.changes import predicted_changes, retrainer, trained_changes
from pipeline.fidelity.measure import measure
from pipeline.fidelity.ranking_target import ranking_target
from pipeline.fidelity.report import write
from pipeline.fidelity.sample import draw_sample
from pipeline.fidelity.setting import open_setting
from pipeline.fidelity.verdict import causes, verdict
from pipeline.infinite import kernel_maker
from pipeline.queries import QueryState, get_strategy
from trainer.checkpoint import load_weights
from trainer.loop import fit
from trainer.predict import predict


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """A run of a linear network trained to convergence; tests only read it."""
    here = tmp_path_factory.mktemp("linear")
    (here / "linear_net.py").write_text(LINEAR)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(here)
        yield make_run(here / "run", **{"model.name": "linear_net:build", **CONVERGED})
    sys.modules.pop("linear_net", None)


@pytest.fixture(scope="module")
def setting(linear):
    return open_setting(linear, 0, 20, trust_code=True)


@pytest.fixture(scope="module")
def measured(setting):
    return measure(setting, 20, "predicted", 1, Quiet())


def test_a_linear_network_is_predicted_exactly(setting, measured):
    for proxy, score in (("linearized", "mlmoc"), ("linearized", "mlmoc-flips"), ("network", "mlmoc")):
        agreement = measured.agreement[proxy][score]
        assert agreement.n == 20
        assert agreement.spearman.value > 0.99, (proxy, score)
        assert agreement.top.value == 1
        assert agreement.slope.value == pytest.approx(1, abs=0.01)
    assert all(row.figures["linearized"]["cosine"] > 0.999 for row in measured.rows)
    assert all(row.unlearned < 0.01 for row in measured.rows)
    assert measured.agreement["one-step"]["mlmoc"].cosine.value < 0.9  # a step forgets what is labelled
    effect = np.median([row.figures["linearized"]["actual_size"] for row in measured.rows])
    assert measured.background.noise < 0.01 * effect
    assert measured.specific.low > 0
    assert verdict(setting, measured).startswith("Trust what look-ahead predicts here")


def test_what_was_left_to_train_is_predicted_too(linear, setting, tmp_path):
    options = {**CONVERGED, "train.epochs": 40}
    run = make_run(tmp_path / "early", **{"model.name": "linear_net:build", **options})
    early = open_setting(run, 0, 5, trust_code=True)
    early = replace(early, context=replace(early.context, config=setting.context.config))  # retrain to convergence
    measured = measure(early, 5, "predicted", 1, Quiet())
    background = measured.background
    assert background.drift[0] > 1
    assert background.drift[0] == pytest.approx(background.finishing, rel=0.01)
    assert background.finishing_cosine > 0.999
    for row in measured.rows:  # that drift is no part of a candidate's effect, unless measured from the network
        for proxy in ("linearized", "network"):
            assert row.figures[proxy]["cosine"] > 0.999
            assert row.figures[proxy]["actual_size"] == pytest.approx(row.figures[proxy]["predicted_size"], rel=0.01)
        assert row.figures["naive"]["actual_size"] == row.figures["network"]["actual_size"]  # drift and all
        assert row.figures["naive"]["actual_size"] != pytest.approx(row.figures["linearized"]["actual_size"], rel=1e-3)


def test_true_labels_are_the_data_sets(setting):
    rows = measure(setting, 8, "true", 1, Quiet()).rows
    truth = setting.context.data.labels("train")
    assert [row.label for row in rows] == [truth[row.id] for row in rows]
    assert any(row.label != setting.posterior.f[list(setting.candidates).index(row.id)].argmax() for row in rows)
    assert all(row.figures["linearized"]["cosine"] > 0.999 for row in rows)


def test_predictions_of_other_candidates_agree_with_nothing(setting, monkeypatch):
    other = np.random.default_rng(1).permutation(len(setting.candidates))
    monkeypatch.setattr(measuring, "predicted_changes", lambda s, x, label: predicted_changes(s, int(other[x]), label))
    shuffled = measure(setting, 20, "predicted", 1, Quiet())
    agreement = shuffled.agreement["linearized"]["mlmoc"]
    assert abs(agreement.spearman.value) < 0.45
    assert agreement.spearman.low < 0 < agreement.spearman.high
    assert agreement.cosine.value < 0.5
    assert shuffled.specific.low < 0 < shuffled.specific.high
    sentence = verdict(setting, shuffled)
    assert sentence.startswith("Do not trust")
    assert "measured: the network has 5.4 parameters for each output to fit: take a wider one" in sentence  # 650 / 120


@pytest.mark.parametrize(
    ("rho", "words"),
    [
        ((0.8, 0.6, 0.9), "Trust look-ahead"),
        ((0.5, 0.1, 0.8), "Look-ahead ranks candidates better than chance here, but coarsely"),
        ((0.3, -0.2, 0.7), "Not decided, neither chance nor a good ranking can be ruled out: take more --candidates"),
        ((0.1, -0.3, 0.4), "Do not trust"),
        ((None, None, None), "Nothing can be said"),
    ],
)
def test_the_sentence_follows_the_interval_of_the_strategys_own_score(setting, measured, rho, words):
    target = as_of(setting, measured, "mlmoc-flips").target
    own = measured.agreement["linearized"]["mlmoc-flips"]._replace(spearman=Interval(*rho))
    changed = {**measured.agreement, "linearized": {**measured.agreement["linearized"], "mlmoc-flips": own}}
    sentence = verdict(setting, replace(measured, target=target, agreement=changed))
    assert sentence.startswith(words)
    assert "judged: predictions that flip from the linearised network on, as mlmoc-flips ranks by" in sentence
    assert ("; measured: " in sentence) == (not words.startswith("Trust"))


@pytest.mark.parametrize(
    ("cosine", "specific", "words"),
    [
        ((0.8, 0.75, 0.9), (0.3, 0.2, 0.4), "Trust what look-ahead predicts here"),
        ((0.8, 0.6, 0.9), (0.3, 0.2, 0.4), "Look-ahead tells candidates apart better than chance here, but coarsely"),
        ((0.9, 0.8, 0.95), (0.02, -0.1, 0.1), "Not decided, chance cannot be ruled out: take more --candidates"),
        ((0.3, 0.2, 0.4), (0.02, -0.1, 0.1), "Do not trust"),
        ((0.9, 0.8, 0.95), (-0.2, -0.3, -0.1), "Do not trust"),
        ((None, None, None), (None, None, None), "Nothing can be said"),
    ],
)
def test_what_ranks_by_no_change_is_judged_by_where_outputs_move(setting, measured, cosine, specific, words):
    sizes = measured.agreement["linearized"]["mlmoc"]._replace(cosine=Interval(*cosine))
    changed = {**measured.agreement, "linearized": {**measured.agreement["linearized"], "mlmoc": sizes}}
    for strategy in ("margin-influence", "margin-variance-sequential", "eer", "expected-accuracy"):
        found = replace(as_of(setting, measured, strategy), agreement=changed, specific=Interval(*specific))
        sentence = verdict(setting, found)
        assert sentence.startswith(words)
        assert f"on which {found.target.criterion.name} rests; it ranks by no output change, so its own" in sentence


@pytest.mark.parametrize("n", [6, 19])
def test_few_candidates_settle_nothing_whatever_the_interval(setting, measured, n):
    for strategy in ("mlmoc-flips", "margin-influence"):
        own = {
            score: one._replace(n=n, spearman=Interval(1.0, 0.9, 1.0), cosine=Interval(0.99, 0.98, 1.0))
            for score, one in measured.agreement["linearized"].items()
        }
        few = replace(as_of(setting, measured, strategy), agreement={**measured.agreement, "linearized": own})
        sentence = verdict(setting, replace(few, specific=Interval(0.5, 0.4, 0.6)))
        assert sentence.startswith("Preliminary, as a verdict takes at least --candidates 20: so far ")
        assert f"{n} candidates" in sentence
        assert "rust" not in sentence
    poor = {score: one._replace(spearman=Interval(0.1, -0.3, 0.4)) for score, one in own.items()}
    few = replace(as_of(setting, measured, "mlmoc-flips"), agreement={**measured.agreement, "linearized": poor})
    assert "so far it may be chance, and is not good (" in verdict(setting, few)


def test_every_cause_is_named_where_it_was_measured_and_nowhere_else(setting, measured):
    def found(setting=setting, background=None, **row):
        changed = replace(measured, rows=[one._replace(**row) for one in measured.rows])
        changed = replace(changed, background=replace(measured.background, **(background or {})))
        return [cause for cause in causes(setting, changed) if not cause.startswith("the network has 5.4 parameters")]

    def kernel(**figures):
        look_ahead = copy.copy(setting.look_ahead)
        look_ahead.diagnostics = replace(look_ahead.diagnostics, **figures)
        return replace(setting, look_ahead=look_ahead)

    assert found() == []
    cold = setting.context.config.model_copy(update={"start": "cold"})
    effect = float(np.median([row.figures["linearized"]["actual_size"] for row in measured.rows]))
    cases = [
        (
            found(replace(setting, summary={**setting.summary, "residual_rms": 0.5})),
            "had not converged (residual 0.5, tolerance 1e-05)",
        ),
        (found(converged=0.75), "25% of the retrainings did not converge: raise train.epochs"),
        (found(unlearned=0.7), "retraining stopped with 70% of the candidate's own error left"),
        (found(background={"seeds": (0.6 * effect, 3.0)}), "by 60% of what a candidate does: lower train.max_lr"),
        (found(background={"placebo": (0.6 * effect, 3.0)}), "by 60% of what a candidate does: lower train.max_lr"),
        (
            found(replace(setting, context=replace(setting.context, config=cold)), {"placebo": (effect, 3.0)}),
            "by 100% of what a candidate does: train warm",
        ),
        (found(background={"drift": (2 * effect, 3.0)}), "training on without any candidate moves the outputs by 200%"),
        (found(kernel(jitter=1e-6)), "ill-conditioned (condition number 6.9e+01, jitter 1.0e-06): set kernel.ridge"),
        (found(kernel(condition_number=float("inf"))), "ill-conditioned (condition number inf"),
    ]
    for causes_found, text in cases:
        assert len(causes_found) == 1, causes_found
        assert text in causes_found[0]


def test_predicted_scores_are_those_that_the_strategy_ranks_by(setting):
    state, scores = setting.posterior, setting.look_ahead.scores
    for position in (0, 7, 21):
        changes = predicted_changes(setting, position, int(state.f[position].argmax()))
        assert changes["linearized"].size == pytest.approx(scores("mlmoc", Measure("linearized"))[position])
        assert changes["network"].size == pytest.approx(scores("mlmoc")[position])
        assert changes["linearized"].flips == int(scores("mlmoc-flips")[position])


def test_naive_is_the_change_after_fifteen_epochs_from_the_trained_network(setting):
    context = setting.context
    position, label, seed = 5, 3, 77
    model = context.network()
    load_weights(model, setting.trained / "weights.safetensors")
    before = predict(model, context.images(setting.candidates))
    ids = np.append(setting.labelled.ids, setting.candidates[position])
    options = replace(context.config.train_options, epochs=15, tolerance=0.0)
    fit(model, context.images(ids), np.append(setting.labelled.labels, label), 10, options, seed=seed)
    expected = np.linalg.norm(predict(model, context.images(setting.candidates)) - before, axis=1).sum()
    trained = trained_changes(setting, retrainer(setting, "warm"), position, label, seed)
    assert trained["naive"].size == pytest.approx(expected, rel=1e-5)
    assert trained["one-step"].size != pytest.approx(expected, rel=0.1)


def test_repeats_are_averaged_and_counted(setting):
    reporter = Quiet()
    measured = measure(setting, 5, "predicted", 2, reporter)
    assert reporter.estimates[0][0] == reporter.done[-1][1] == 4 + 2 * (3 + 5)  # seeds, placebos, candidates
    assert [done for done, _ in reporter.done] == list(range(1, 21))
    assert len(measured.rows) == 5


def test_agreement_against_scipy_and_by_hand():
    rng = np.random.default_rng(3)
    predicted = rng.integers(0, 6, 24).astype(float)  # with ties, as flips have them
    actual = predicted + rng.normal(size=24).round()
    found = compare(predicted, actual, np.full(24, 0.5), np.random.default_rng(0))
    assert found.spearman.value == pytest.approx(stats.spearmanr(predicted, actual).statistic)
    assert found.slope.value == pytest.approx(np.linalg.lstsq(predicted[:, None], actual, rcond=None)[0][0])
    assert found.spearman.low < found.spearman.value < found.spearman.high
    hand = compare(np.array([1, 2, 3, 4, 5, 6.0]), np.array([6, 2, 3, 4, 5, 1.0]), np.array([1, 0, np.nan] * 2), rng)
    assert (hand.top.value, hand.cosine.value) == (0.5, 0.5)  # {5, 6} and {1, 5}
    ties = np.array([0.1, 0.2, 0, 0]), np.array([0, 0.2, 0.1, 0])
    assert compare(np.ones(4), np.ones(4), np.zeros(4), rng, ties).top.value == 0.5
    constant = compare(np.ones(5), np.arange(5.0), np.zeros(5), rng)
    assert constant.spearman == constant.top == (None, None, None)
    assert cosine(np.array([3.0, 4.0]), np.array([4.0, 3.0])) == pytest.approx(24 / 25)
    assert np.isnan(cosine(np.zeros(2), np.ones(2)))


def test_the_sample_spans_the_scores_and_holds_no_candidate_twice():
    scores = np.random.default_rng(0).permutation(100).astype(float)
    sample = draw_sample(scores, 11, np.random.default_rng(1))
    assert list(scores[sample.positions[:5]]) == [89, 69, 49, 29, 9]
    assert sample.how == ["quantile"] * 5 + ["uniform"] * 6
    assert len(set(sample.positions)) == 11
    assert sorted(draw_sample(scores[:7], 7, np.random.default_rng(1)).positions) == list(range(7))


def test_its_random_numbers_are_its_own():
    streams = ("initial", "subset", "init", "train", "query", "fidelity")
    assert len({seeds.integer(0, 0, stream) for stream in streams}) == 6
    assert seeds.sequence(0, 0, "query").entropy == [0, 0, 5]  # as before there was this stream: old runs stay theirs


@needs_neural_tangents
def test_infinite_kernels_are_compared_where_asked_and_predict_what_the_strategies_rank_by(unconverged):
    assert open_setting(unconverged, 0, 6).infinite == {}
    setting = open_setting(unconverged, 0, 6, infinite=True)
    context, position = setting.context, 3
    model = context.network()
    load_weights(model, setting.trained / "weights.safetensors")
    state = QueryState(
        candidates=setting.candidates,
        labelled=setting.labelled,
        num_classes=10,
        loss="l2",
        rng=np.random.default_rng(0),
        inputs=context.images,
        evaluate=lambda x: predict(model, x),
        embed=None,
        linearize=None,
        infinite=kernel_maker(context.spec, context.config.kernel_options),
    )
    for name, regression in setting.infinite.items():
        expected = get_strategy(name).query(state, 1).candidate_scores[position]
        change = predicted_changes(setting, position, int(regression.posterior.f[position].argmax()))[name]
        assert change.size == pytest.approx(expected, rel=1e-4)
    measured = measure(setting, 6, "predicted", 1, Quiet())
    assert list(measured.agreement) == ["linearized", "network", "one-step", "naive", "infinite", "gp"]
    row = measured.rows[0].figures
    assert row["infinite"]["actual_size"] == row["network"]["actual_size"]
    assert row["gp"]["actual_size"] == row["linearized"]["actual_size"] != row["network"]["actual_size"]


def as_of(setting, measured, strategy, **options):
    """What was measured, judged as of a run of another strategy."""
    query = setting.context.config.query.model_copy(update={"strategy": strategy, **options})
    config = setting.context.config.model_copy(update={"query": query})
    return replace(measured, target=ranking_target(config, [*measured.agreement, "infinite", "gp"]))


@pytest.mark.parametrize(
    ("strategy", "options", "criterion", "by", "proxy", "said"),
    [
        ("mlmoc", {}, "mlmoc", "size", "network", "change from the trained network, as mlmoc ranks by"),
        ("mlmoc-sequential", {"reference": "linearized"}, "mlmoc", "size", "linearized", "from the linearised network"),
        ("mlmoc", {"distance": "simplex"}, "mlmoc", "size", "network", "but between probabilities"),
        ("ntk-no-block", {}, "mlmoc", "size", "network", "as ntk-no-block ranks by"),
        ("naive", {}, "mlmoc", "size", "naive", "as naive ranks by"),
        ("one-step", {}, "mlmoc", "size", "one-step", "as one-step ranks by"),
        ("infinite", {"reference": "linearized"}, "mlmoc", "size", "infinite", "but from the linearised network"),
        ("gp", {}, "mlmoc", "size", "gp", "as gp ranks by"),
        ("emoc-greedy", {}, "emoc", "size", "network", "for one label, of which emoc takes the mean"),
        ("emoc-flips", {}, "emoc-flips", "flips", "linearized", "for one label, of which emoc-flips takes the mean"),
        ("mlmoc-flips", {"reference": "network"}, "mlmoc-flips", "flips", "network", "as mlmoc-flips ranks by"),
        ("margin-influence", {}, "margin-influence", "direction", "linearized", "where outputs move"),
        ("eer", {}, "eer", "direction", "linearized", "where outputs move"),
        ("margin-lin", {}, "margin-lin", "training", "linearized", "trained on without a candidate"),
        ("margin", {}, "mlmoc-flips", "flips", "linearized", "margin does not look ahead"),
        ("somebody_elses:Own", {}, "mlmoc-flips", "flips", "linearized", "Own does not look ahead"),
    ],
)
def test_a_run_is_judged_by_what_its_strategy_ranks_by(
    setting, measured, strategy, options, criterion, by, proxy, said
):
    target = as_of(setting, measured, strategy, **options).target
    assert (target.criterion.name, target.by, target.proxy) == (criterion, by, proxy)
    assert said in target.subject


@pytest.mark.parametrize(("strategy", "proxy"), [("naive", "naive"), ("one-step", "one-step"), ("mlmoc", "network")])
def test_the_verdict_reads_the_proxy_that_is_judged(setting, measured, strategy, proxy):
    found = as_of(setting, measured, strategy)
    poor = found.agreement[proxy]["mlmoc"]._replace(spearman=Interval(0.1, -0.3, 0.4))
    found = replace(found, agreement={**found.agreement, proxy: {**found.agreement[proxy], "mlmoc": poor}})
    assert verdict(setting, found).startswith("Do not trust")


def test_the_sample_is_spread_by_the_runs_own_reference_and_distance(setting, monkeypatch):
    query = setting.context.config.query.model_copy(
        update={"strategy": "mlmoc", "reference": "linearized", "distance": "simplex"}
    )
    other = replace(
        setting, context=replace(setting.context, config=setting.context.config.model_copy(update={"query": query}))
    )
    drawn = []

    def draw(scores, n, rng):
        drawn.append(scores)
        return draw_sample(scores, n, rng)

    monkeypatch.setattr(measuring, "draw_sample", draw)
    measure(other, 5, "predicted", 1, Quiet())
    np.testing.assert_array_equal(drawn[0], setting.look_ahead.scores("mlmoc", Measure("linearized", "simplex")))


def test_a_ranking_by_the_linearised_network_is_compared_with_that_after_training_on(setting):
    query = setting.context.config.query.model_copy(update={"strategy": "margin-lin-sequential"})
    config = setting.context.config.model_copy(update={"query": query})
    measured = measure(replace(setting, context=replace(setting.context, config=config)), 5, "predicted", 1, Quiet())
    assert measured.finished.n == len(setting.candidates)
    assert measured.finished.spearman.value > 0.99
    assert verdict(setting, measured).startswith("Trust look-ahead's ranking here")
    state, wrong = setting.posterior, np.random.default_rng(0).normal(size=setting.posterior.f.shape)
    rng = np.random.default_rng(0)
    assert abs(measuring._finished(setting, CRITERIA["margin-lin"], wrong, rng).spearman.value) < 0.6
    p = np.sort(np.stack([reference.naive_simplex(one[None])[0] for one in wrong]), axis=1)
    q = np.sort(reference.naive_simplex(state.mean), axis=1)
    expected = stats.spearmanr(q[:, -1] - q[:, -2], p[:, -1] - p[:, -2]).statistic
    assert measuring._finished(setting, CRITERIA["margin-lin"], wrong, rng).spearman.value == pytest.approx(expected)


def test_the_cosine_of_another_candidate_is_of_its_update_with_the_same_label(setting, measured):
    row, state = measured.rows[0], setting.posterior
    at = [list(setting.candidates).index(one.id) for one in measured.rows]
    predicted = [np.outer(state.S[x], np.eye(10)[row.label] - state.mean[x]).ravel() for x in at[:2]]
    expected = cosine(*predicted)  # a linear network moves exactly as predicted
    assert row.figures["linearized"]["cosine_other"] == pytest.approx(expected, abs=1e-2)
    own = [one.figures["linearized"]["cosine"] - one.figures["linearized"]["cosine_other"] for one in measured.rows]
    assert measured.specific.value == pytest.approx(np.mean(own))


def poor(path, n=10, **options):
    """The verdict on a run that look-ahead has no reason to be right about."""
    setting = open_setting(make_run(path, **options), 0, n, trust_code=True)
    return verdict(setting, measure(setting, n, "predicted", 1, Quiet()))


def test_a_narrow_network_is_told_to_be_widened(tmp_path):
    options = {"model.name": "mlp", "model.options": {"width": 2, "depth": 1}, "train.epochs": 30}
    sentence = poor(tmp_path / "run", **options)
    assert not sentence.startswith("Trust")
    assert "parameters for each output to fit: take a wider one" in sentence


def test_an_ill_conditioned_kernel_is_told_to_take_a_ridge(linear, tmp_path):
    """A linear network has 65 directions: with more labels than that its kernel is singular."""
    sentence = poor(tmp_path / "run", **{"model.name": "linear_net:build", "query.n_init": 80, "train.epochs": 30})
    assert not sentence.startswith("Trust")
    assert "the kernel is ill-conditioned (condition number" in sentence
    assert "set kernel.ridge, such as 1e-6" in sentence


def test_figures_are_the_same_bytes_every_time(setting, measured, tmp_path):
    for name in ("one", "two"):
        write(tmp_path / name, setting, measured, "predicted", 1)
    for name in ("fidelity.png", "fidelity.svg", "fidelity.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
