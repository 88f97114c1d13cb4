"""The live report: it follows the work, serves nothing else, and no other site can read it."""

import contextlib
import html
import http.client
import json
import re
import shutil
import signal
import socket
import subprocess
import threading
import urllib.parse

import jobs
import pytest
from browser import CHROMIUM, QUIET, Page, needs_browser
from harness import DEADLINE, Running, batchgray, command, save_gradient, tree
from recording import Recording, Rule, wait_for_stopped_worker

from batchgray import errors
from batchgray.commands.report import live, subject

NOTHING = threading.Event()


class Served:
    """A page that is served in this process; `change` has it read again."""

    def __init__(self, manifest, page=live.LivePage):
        self.page = page(lambda framed, look: subject.manifest_subject(manifest, manifest.parent, framed))
        self.server = live.Server("127.0.0.1", 0, self.page)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def ask(self, path="/", method="GET", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=DEADLINE)
        with contextlib.closing(connection):
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, headers=names)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.headers

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def converted(folder):
    for name in ("a.png", "b.png"):
        save_gradient(folder / "in" / name, 90, 70, seed=ord(name[0]))
    batchgray("run", folder / "in", "--out", folder / "out", "-q")
    return folder / "out"


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """An output folder that no test changes."""
    return converted(tmp_path_factory.mktemp("kept"))


@pytest.fixture(scope="module")
def served(kept):
    served = Served(kept / "manifest.json")
    yield served
    served.close()


@pytest.fixture
def out(tmp_path):
    return converted(tmp_path)


@pytest.fixture
def changing(out):
    served = Served(out / "manifest.json")
    yield served
    served.close()


def pictures_of(text):
    return re.findall(r'src="(/picture/[0-9a-f]+)"', text)


def test_the_page_and_its_pictures_are_served_and_nothing_is_written(served, kept):
    before = tree(kept.parent)
    status, text, headers = served.ask()
    assert status == 200
    page = Page(text.decode())
    assert page.counts()["done"] == 2
    assert len(pictures_of(page.text)) == 4
    for path in pictures_of(page.text):
        status, jpeg, found = served.ask(path)
        assert (status, found["Content-Type"], jpeg[:2]) == (200, "image/jpeg", b"\xff\xd8")
    assert (headers["Cache-Control"], headers["X-Frame-Options"]) == ("no-store", "DENY")
    assert "connect-src &#39;self&#39;" in page.text
    assert tree(kept.parent) == before


def test_a_reader_that_has_the_latest_page_gets_none(changing, out):
    number = re.search(r'data-version="(\d+)"', changing.ask()[1].decode())[1]
    assert changing.ask(f"/?after={number}")[:2] == (204, b"")
    changing.page._look(look=True)
    assert changing.ask(f"/?after={number}")[0] == 204, "nothing has changed"
    batchgray("verify", "--mend", out, expect=0)
    (out / "a.jpg").unlink()
    batchgray("verify", "--mend", out, expect=3)
    changing.page._look(look=True)
    status, text, _ = changing.ask(f"/?after={number}")
    assert status == 200
    assert Page(text.decode()).counts()["done"] == 1


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "localhost:1", "127.0.0.1", "", "[::1", "a:b:c"]
)
def test_a_name_that_another_made_to_point_here_is_refused(served, host):
    assert served.ask(Host=host.format(port=served.server.port))[:2] == (421, b"")


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "LOCALHOST:{port}", "[::1]:{port}"])
def test_an_address_of_this_machine_is_not(served, host):
    assert served.ask(Host=host.format(port=served.server.port))[0] == 200


def test_another_site_that_the_reader_has_open_can_not_read_it(served):
    picture = pictures_of(served.ask()[1].decode())[0]
    for path in ("/", picture):
        assert served.ask(path, Sec_Fetch_Site="cross-site")[:2] == (403, b"")
        assert served.ask(path, Sec_Fetch_Site="same-site")[:2] == (403, b"")
        status, _, headers = served.ask(path, Sec_Fetch_Site="same-origin")
        assert (status, headers["Cross-Origin-Resource-Policy"]) == (200, "same-origin")
        assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
    "path",
    [
        "/manifest.json",
        "/../manifest.json",
        "/a.jpg",
        "/picture/",
        "/picture/../a.jpg",
        "/picture/%2e%2e/a.jpg",
        "//etc/passwd",
        "/picture//etc/passwd",
        "/picture/" + "0" * 40,
        "file:///etc/passwd",
    ],
)
def test_no_path_leads_to_a_file(served, path):
    assert served.ask(path)[:2] == (404, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_there_is_nothing_but_reading(served, method):
    assert served.ask(method=method)[0] == 501


def test_only_its_head_is_given_where_that_is_asked_for(served):
    status, body, headers = served.ask(method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 1000


def test_a_manifest_that_is_away_for_a_while_is_told_as_it_was(changing, out):
    text = changing.ask()[1]
    (out / "manifest.json").rename(out / "away.json")
    until = threading.Event()
    until.wait = lambda pause: pause > 0
    changing.page.keep_looking(until)
    assert changing.ask()[1] == text


def test_an_address_that_can_not_be_had_is_told(kept):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = batchgray("report", kept, "--serve", "--port", port, expect=2).stderr
    assert f"can't serve the report at 127.0.0.1, port {port}: " in said
    with pytest.raises(errors.UnservableReport):
        live.Server("no such host.invalid", 0, None)


def test_it_writes_no_file_and_says_so(kept):
    said = batchgray("report", kept, "--serve", "--html", "page.html", expect=2).stderr
    assert "--serve writes no file" in said
    assert "there is no manifest" in batchgray("report", kept / "no.json", "--serve", expect=2).stderr


@pytest.mark.parametrize(("stage", "signum"), [("folders", signal.SIGINT), ("oss", signal.SIGTERM)])
def test_a_job_is_followed_to_its_end_and_a_signal_is_the_good_end_of_the_report(tall, tmp_path, stage, signum):
    recording = Recording(tmp_path / "record", Rule("tile", r"tall\.jpg", after=30))
    with jobs.STAGES[stage](tall, tmp_path) as stage, Running(*stage.run(), env=stage.env(recording)) as run:
        worker = wait_for_stopped_worker(run)
        with ended(command("report", stage.out, "--serve"), stage.env()) as report:
            url = urllib.parse.urlsplit(re.search(r"http://\S+", report.stdout.readline())[0])
            assert url.hostname == "127.0.0.1"
            assert Page(asked(url).decode()).counts()["pending"] == 1
            assert f"process {run.process.pid} " in asked(url).decode()
            worker.resume()
            run.finish(expect=0)
            while b"<dt>done</dt><dd>1</dd>" not in (text := asked(url)):
                NOTHING.wait(0.1)
            [*pictures] = pictures_of(text.decode())
            assert len(pictures) == 2
            assert all(asked(url, path)[:2] == b"\xff\xd8" for path in pictures)
            report.send_signal(signum)
            assert report.wait(DEADLINE) == 0


@contextlib.contextmanager
def ended(arguments, environment):
    """A process that does not outlive the test."""
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def asked(url, path="/"):
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read()


class Changing(live.LivePage):
    """It is another one when it is asked for what is new."""

    change = staticmethod(lambda: None)

    def text(self, after=""):
        if after == "1":
            self.change()
            self._look(look=True)
        return super().text(after)


@needs_browser
def test_a_browser_puts_in_what_is_new_and_fetches_nothing_else(out, tmp_path):
    served = Served(out / "manifest.json", Changing)

    def change():
        (out / "a.jpg").unlink(missing_ok=True)
        batchgray("verify", "--mend", out, expect=3)

    served.page.change = change
    browser = [CHROMIUM, *QUIET, f"--user-data-dir={tmp_path / 'browser'}"]
    try:
        done = subprocess.run(
            [*browser, "--virtual-time-budget=9000", served.server.url],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
            check=True,
        )
    finally:
        served.close()
    page = Page(done.stdout)
    counts = page.counts()
    assert (counts["done"], counts["pending"]) == (1, 1)
    assert len(page.of("img")) == 2
    assert '<span id="connection" role="status">live</span>' in page.text
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []


PHONE = 360  # pixels


@needs_browser
@pytest.mark.parametrize("kind", ["manifest", "job"])
def test_no_part_of_a_report_is_wider_than_a_phone(tmp_path, kind):
    """Tables may scroll in themselves; nothing else may reach over the edge."""
    name = "a-very-long-name-without-a-blank-" * 6
    save_gradient(tmp_path / "in" / f"{name}.png", 90, 70)
    (tmp_path / "in" / "bad.png").write_bytes(b"bad")
    out = tmp_path / "out"
    batchgray("run", tmp_path / "in", "--out", out, "-q", *(["--job"] if kind == "job" else []), expect=3)
    batchgray("report", out)
    script = """
    const scrolls = (element) => element.classList.contains("scroll")
      ? element.getBoundingClientRect().right <= WIDTH : element.parentElement && scrolls(element.parentElement);
    addEventListener("load", () => {
      const shown = [...document.querySelector("iframe").contentDocument.querySelectorAll("body *")];
      const right = (element) => scrolls(element) ? 0 : element.getBoundingClientRect().right;
      const wide = shown.filter((element) => right(element) > WIDTH);
      document.title = JSON.stringify([shown.length, wide.map((element) => element.outerHTML.slice(0, 200))]);
    })""".replace("WIDTH", str(PHONE))
    frame = f'<iframe style="width:{PHONE}px;height:800px;border:0" src="{(out / "report.html").as_uri()}"></iframe>'
    (tmp_path / "phone.html").write_text(f"<title></title>{frame}<script>{script}</script>")
    arguments = [CHROMIUM, *QUIET, "--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'browser'}"]
    done = subprocess.run(
        [*arguments, (tmp_path / "phone.html").as_uri()], capture_output=True, text=True, check=True, timeout=DEADLINE
    )
    count, wide = json.loads(html.unescape(re.search("<title>(.*?)</title>", done.stdout, re.DOTALL)[1]))
    assert count > 50
    assert wide == []


@needs_browser
@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="no pdftotext: apt-get install poppler-utils")
def test_print_has_all_and_nothing_to_click(kept, tmp_path):
    batchgray("report", kept, "--html", tmp_path / "page.html")
    target = tmp_path / "page.pdf"
    arguments = [CHROMIUM, *QUIET[:-1], "--no-pdf-header-footer", f"--print-to-pdf={target}"]
    subprocess.run(
        [*arguments, f"--user-data-dir={tmp_path / 'browser'}", (tmp_path / "page.html").as_uri()], check=True
    )
    text = subprocess.run(["pdftotext", target, "-"], capture_output=True, text=True, check=True).stdout
    assert "Megapixels a second" in text
    assert "a.png" in text
    assert "Filter by name" not in text
