"""`ropewalk cache`: a cache that was moved, cut or rescaled, against a fresh prefill."""

import json
import os

import pytest
from tiny_model import write_model, write_text
from tool import ok, refused

EVENTS = ["move", "shift", "dynamic", "yarn"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def text(tmp_path):
    return write_text(tmp_path / "text.txt")


def test_turned_keys_are_those_of_a_fresh_prefill(model, text):
    data = json.loads(ok("cache", model, "--text", text, "--tokens", 300, "--score", 40, "--json"))
    assert [event["name"] for event in data["events"]] == EVENTS
    assert (data["cached_tokens"], data["scored_tokens"], data["dtype"]) == (300, 40, "f32")
    for event in data["events"]:
        assert event["equal_but_for_rounding"] == (event["name"] in ("move", "shift"))
        if event["equal_but_for_rounding"]:
            assert event["turned"]["largest_difference"] < 1e-4, event
            assert event["turned"]["perplexity"] == pytest.approx(event["fresh_perplexity"], rel=1e-4)
            assert event["left"]["largest_difference"] > 1e-2, event


def test_the_table_says_the_same(model, text):
    lines = ok("cache", model, "--text", text, "--tokens", 300, "--score", 40).splitlines()
    assert any(line.startswith("all keys 150 positions on") for line in lines)
    assert any(line.startswith("first 150 forgotten") for line in lines)
    assert lines[-1].startswith("* ")


# Slow on two cores, and the point of it all: a real model.
@pytest.mark.skipif("ROPEWALK_SMOLLM2" not in os.environ, reason="SmolLM2 could not be fetched")
def test_smollm2_reads_on_behind_a_cache_that_was_carried_over(tmp_path):
    words = "In the beginning God created the heaven and the earth. And the earth was without form, and void; "
    text = tmp_path / "text.txt"
    text.write_text("".join(f"{i}. {words}" for i in range(60)))
    data = json.loads(ok("cache", os.environ["ROPEWALK_SMOLLM2"], "--text", text, "--tokens", 512, "--score", 64, "--json"))
    for event in data["events"]:
        turned, left = event["turned"], event["left"]
        assert turned["divergence"] < 0.25 * left["divergence"], event
        if event["equal_but_for_rounding"]:
            assert turned["largest_difference"] < 2e-5, event


def test_what_is_refused(model, text, tmp_path):
    refused("cache", model, "--text", text, "--tokens", 1, says="--tokens: want at least 2")
    refused("cache", model, "--text", text, "--score", 1, says="--score: want at least 2")
    refused("cache", model, "--text", text, "--tokens", "1m", says="--tokens: want at most")
    refused("cache", model, "--text", tmp_path / "none.txt", says="none.txt")
    refused("cache", tmp_path / "none.gguf", "--text", text, says="none.gguf")
    refused("cache", model, "--text", text, "--threads", -1, says="--threads: want a number from 0")
