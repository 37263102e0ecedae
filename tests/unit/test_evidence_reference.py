"""The reference run: every variant of every system is in it, and each is broken somewhere; one report of it all."""

import adapters
from bench import servers, spec
from bench.analysis.summary import REFERENCES
from benchmarks.evidence import cluster, guarantees, reference


def test_every_mode_client_and_option_of_a_server_is_in_it():
    made = [spec.parse(text) for text in reference.variants()]
    assert len({one.spec for one in made}) == len(made)
    for system, client in adapters.pairs():
        if system in REFERENCES:
            continue
        of_pair = [one for one in made if (one.system, one.client) == (system, client)]
        usual, *others = (mode.name for mode in adapters.load(system, client).capabilities.modes)
        assert {one.mode or usual for one in of_pair} == {usual, *others}, (system, client)
        for key, values in ({} if client else servers.options(system)).items():
            assert {one.server_options.get(key, values[0]) for one in of_pair} == {*values}, (system, key)


def test_each_variant_is_in_one_of_the_runs_and_an_option_beside_what_it_changes():
    usual, other = reference.on_usual_servers(), reference.on_other_servers()
    added = {spec.parse(text).spec for text in other} & {spec.parse(text).spec for text in usual}
    assert {*usual, *other} == {*reference.variants()}
    assert added == {spec.parse(text).system for text in other}, "the usual one of each system whose server has options"


def test_what_evidence_has_broken_is_not_broken_again_and_nothing_is_left_out():
    untried = [spec.parse(text) for text in reference.untried()]
    clusters = {spec.parse(text).spec for text in cluster.SPECS}
    assert all(one.mode for one in untried), "a SPEC without one stands for all modes"
    assert not {one.spec for one in untried} & clusters
    for text in reference.variants():
        variant = spec.parse(text)
        usual = variant.system in reference.TRIED and not variant.client and not variant.server_options
        found = [one for one in (*untried, *map(spec.parse, clusters)) if one.server_options == variant.server_options]
        assert usual or any((one.system, one.client) == (variant.system, variant.client) for one in found), text
    assert {*reference.FAULTS} <= {*guarantees.FAULTS}


def test_the_report_of_some_folders_is_written_to_a_page_and_what_is_not_there_is_left_out(tmp_path):
    folder = next(reference.PAGE.parents[1].glob("results/reference/*/order-events-*"))
    page = tmp_path / "page.md"
    reference.written([folder, tmp_path / "not measured yet"], page)
    assert "## order-events" in page.read_text(encoding="utf-8")
