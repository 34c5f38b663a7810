"""Runs tempest, the suite of OpenStack itself, against a cloud, and holds the outcome against `excluded.txt`.

    run.py --clouds FILE [--cloud NAME] --image REFERENCE --work DIR [--concurrency N] [--only FILE]

Every test that is chosen must pass, unless it stands in `excluded.txt` with a reason; one that stands there must not
pass, and must still exist. So that file is, at any time, the whole of what the suites ask and this cloud does not do.
A reason that begins with `unsteady:` is for a test whose outcome hangs on time: it may pass or not.

`--clouds` is a `clouds.yaml` whose cloud (`skep`) is an administrator by password; `--image` what containers are made
of, which must write three lines or more to its log. `--only` names a file of regular expressions, one a line: tests
that begin with a match of one of them are chosen. Without it all of the compute, identity and image suites are. DIR
must not exist; everything that the run writes lies there.
Exit code 0: all is as the file says; 1: it is not, or the run failed.
"""

import argparse
import collections
import os
import pathlib
import re
import subprocess
import sys

import requests
import subunit
import testtools
import yaml

HERE = pathlib.Path(__file__).resolve().parent
SUITES = re.compile(r"tempest\.(serial_tests\.)?api\.(compute|identity|image)\.")


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--clouds", required=True, type=pathlib.Path)
    parser.add_argument("--cloud", default="skep")
    parser.add_argument("--image", required=True)
    parser.add_argument("--work", required=True, type=pathlib.Path)
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--only", type=pathlib.Path)
    return parser.parse_args()


class Cloud:
    """The cloud, as its administrator sees it."""

    def __init__(self, file, name):
        self.auth = yaml.safe_load(file.read_text())["clouds"][name]["auth"]
        user = {"name": self.auth["username"], "domain": {"id": "default"}, "password": self.auth["password"]}
        identity = {"methods": ["password"], "password": {"user": user}}
        scope = {"project": {"name": self.auth["project_name"], "domain": {"id": "default"}}}
        body = {"auth": {"identity": identity, "scope": scope}}
        reply = self.checked(requests.post(f"{self.auth['auth_url']}/v3/auth/tokens", json=body))
        self.headers = {"X-Auth-Token": reply.headers["X-Subject-Token"]}
        catalog = reply.json()["token"]["catalog"]
        self.urls = {entry["type"]: self.public(entry) for entry in catalog}

    @staticmethod
    def public(entry):
        return next(end["url"].rstrip("/") for end in entry["endpoints"] if end["interface"] == "public")

    @staticmethod
    def checked(reply):
        if not reply.ok:
            sys.exit(f"{reply.request.method} {reply.url}: {reply.status_code} {reply.text}")
        return reply

    def flavors(self):
        """The smallest flavor's id, and that of the next."""
        found = self.checked(requests.get(f"{self.urls['compute']}/flavors/detail", headers=self.headers))
        order = sorted(found.json()["flavors"], key=lambda flavor: (flavor["ram"], flavor["vcpus"]))
        return order[0]["id"], order[1]["id"]

    def image(self, name, reference):
        """Makes an image of that name for everybody; its id."""
        wish = {"name": name, "visibility": "public", "container_format": "docker", "disk_format": "raw",
                "oci_reference": reference}
        made = requests.post(f"{self.urls['image']}/v2/images", json=wish, headers=self.headers)
        return self.checked(made).json()["id"]


def configure(cloud, options):
    """What tempest is told of the cloud: `tempest.conf`, with what only this run knows filled in."""
    flavor, alt = cloud.flavors()
    known = {
        "AUTH_URL": cloud.auth["auth_url"], "USER": cloud.auth["username"], "PASSWORD": cloud.auth["password"],
        "PROJECT": cloud.auth["project_name"], "FLAVOR": flavor, "FLAVOR_ALT": alt, "WORK": str(options.work),
        # The same content under two names.
        "IMAGE": cloud.image("tempest", options.image), "IMAGE_ALT": cloud.image("tempest-alt", options.image),
    }
    text = (HERE / "tempest.conf").read_text()
    (options.work / "tempest.conf").write_text(re.sub(r"\{([A-Z_]+)\}", lambda hole: known[hole[1]], text))


class Stestr:
    """The runner that tempest is written for."""

    def __init__(self, work):
        top = pathlib.Path(testtools.__file__).resolve().parents[1]
        found = str(top / "tempest" / "test_discover")
        self.command = [sys.executable, "-m", "stestr", "--test-path", found, "--top-dir", str(top),
                        # Tests of a class share what the class sets up.
                        "--group-regex", r"([^\.]*\.)*"]
        self.environment = dict(os.environ, HOME=str(work), TEMPEST_CONFIG_DIR=str(work), PYTHONWARNINGS="ignore")
        self.work = work
        self.run("init", check=True)

    def run(self, *words, **how):
        return subprocess.run([*self.command, *words], cwd=self.work, env=self.environment, **how)

    def tests(self):
        """All tests of the suites: their names, and what the runner calls them."""
        listed = self.run("list", stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
        return {name(test): test for test in listed if SUITES.match(test)}

    def outcomes(self):
        """How each test ended (`success`, `fail`, `skip` …), and with which trace; also what its class sets up."""
        found = {}
        last = self.run("last", "--subunit", stdout=subprocess.PIPE).stdout
        (self.work / "last.subunit").write_bytes(last)

        def take(test):
            said = [detail.as_text() for kind, detail in test["details"].items() if kind.startswith("traceback")]
            found[name(test["id"])] = (test["status"], "".join(said))

        result = testtools.StreamToDict(take)
        result.startTestRun()
        with open(self.work / "last.subunit", "rb") as stream:
            subunit.ByteStreamToStreamResult(stream).run(result)
        result.stopTestRun()
        return found


def name(test):
    """A test's name without its attributes (`[id-…,smoke]`)."""
    return test.partition("[")[0]


def exclusions():
    """The excluded tests, and the reason of each."""
    found = {}
    for line in (HERE / "excluded.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            test, _, reason = line.partition(" ")
            if not reason.strip() or test in found:
                sys.exit(f"excluded.txt: {test} has no reason, or stands there twice")
            found[test] = reason.strip()
    return found


def main():
    options = arguments()
    options.work = options.work.resolve()
    options.work.mkdir(parents=True)
    configure(Cloud(options.clouds, options.cloud), options)
    runner = Stestr(options.work)
    everything, excluded = runner.tests(), exclusions()
    chosen = set(everything)
    if options.only:
        wanted = [re.compile(line) for line in options.only.read_text().split("\n") if line and line[0] != "#"]
        chosen = {test for test in everything if any(want.match(test) for want in wanted)}
    (options.work / "chosen.txt").write_text("".join(f"{everything[test]}\n" for test in sorted(chosen)))
    with open(options.work / "run.log", "w") as log:
        words = ["--concurrency", str(options.concurrency), "--load-list", str(options.work / "chosen.txt")]
        runner.run("run", *words, stdout=log, stderr=subprocess.STDOUT)
    outcomes = runner.outcomes()
    # What a class sets up for all of its tests fails, or is skipped, under a name of its own.
    status = {test: outcomes.get(test, ("not run", ""))[0] for test in chosen}
    passed = {test for test in chosen if status[test] == "success"}
    wrong = [f"{test}: {status[test]}" for test in sorted(chosen - passed - set(excluded))]
    wrong += [f"{test} passes: take it out of excluded.txt" for test in sorted(passed & set(excluded))
              if not excluded[test].startswith("unsteady:")]
    wrong += [f"{test} stands in excluded.txt and does not exist" for test in sorted(set(excluded) - set(everything))]
    count = collections.Counter(status.values())
    print(f"{len(chosen)} of {len(everything)} tests:", ", ".join(f"{n} {kind}" for kind, n in sorted(count.items())))
    print("\n".join(wrong))
    for test, (how, trace) in sorted(outcomes.items()):
        if how == "fail" and test not in excluded:
            print(f"== {test}\n{trace}")
    sys.stdout.flush()
    sys.exit(1 if wrong or not passed else 0)


if __name__ == "__main__":
    main()
