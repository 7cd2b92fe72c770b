//! IPv6, on loopback and between two network namespaces, held to what `curl -6`, `dig -6` and `ss -6` say there.

use std::process::Command;

use super::{has, report, text};
use crate::support::running::{Running, assert_code, is_root, kdbg};

/// The other side: HTTP on port 7000, and a name server that knows `six.test`.
const SERVER: &str = "
import http.server, os, socket, threading, time
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = ('you are ' + self.client_address[0]).encode()
        self.send_response(200); self.send_header('Content-Length', str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *a): pass
class S(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
names = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); names.bind(('fd00:9::2', 53))
def name_server():
    while True:
        question, sender = names.recvfrom(4096)
        end = question.index(b'\\0', 12) + 5
        kind, known = question[end - 3], question[12:21] == b'\\3six\\4test'[:9]
        answer = b''
        if known and kind == 28:
            answer = b'\\xc0\\x0c\\0\\x1c\\0\\1\\0\\0\\0\\x3c\\0\\x10' + socket.inet_pton(socket.AF_INET6, 'fd00:9::2')
        head = question[:2] + b'\\x81' + (b'\\x80' if known else b'\\x83') + b'\\0\\1\\0' + (b'\\1' if answer else b'\\0') + b'\\0\\0\\0\\0'
        names.sendto(head + question[12:end] + answer, sender)
threading.Thread(target=name_server, daemon=True).start()
server = S(('fd00:9::2', 7000), H)
threading.Thread(target=server.serve_forever, daemon=True).start()
open('ready', 'w')
parent = os.getppid()
while os.getppid() == parent: time.sleep(0.1)
";

/// What is looked at: a listener on loopback, and a connection to the other side.
const TARGET: &str = "
import socket, sys
own = socket.create_server(('::1', 7100), family=socket.AF_INET6)
far = socket.create_connection(('fd00:9::2', 7000))
print('ready', flush=True)
sys.stdin.read()
";

/// A process in a namespace of its own, joined with another one in which the servers are; and how the address of the other
/// side is written.
fn joined(folder: &std::path::Path) -> Option<Running> {
    if !is_root("join two network namespaces") {
        return None;
    }
    let script = r#"
        set -e
        cd "$FOLDER"
        echo 'nameserver fd00:9::2' > resolv.conf
        : > hosts
        for file in resolv.conf hosts; do mount --bind $file /etc/$file; done
        ip link set lo up
        ip link add near type veth peer name far
        unshare -n sh -ec '
            echo $$ > pid
            until [ -e moved ]; do sleep 0.05; done
            ip link set lo up
            ip addr add fd00:9::2/64 dev far nodad
            ip link set far up
            ip6tables -A INPUT -p tcp --dport 7002 -j REJECT --reject-with icmp6-adm-prohibited || true
            exec python3 -c "$SERVER"' < /dev/null > /dev/null &
        until [ -s pid ]; do sleep 0.05; done
        ip link set far netns "$(cat pid)"
        touch moved
        ip addr add fd00:9::1/64 dev near nodad
        ip link set near up
        ip -6 route add unreachable fd00:a::/64
        until [ -e ready ]; do sleep 0.05; done
        exec python3 -c "$TARGET"
    "#;
    let mut command = Command::new("unshare");
    command
        .args(["-n", "-m", "sh", "-c", script])
        .env("FOLDER", folder)
        .env("SERVER", SERVER)
        .env("TARGET", TARGET);
    Some(Running::start(&mut command))
}

/// What a program says in the target's namespaces.
fn there(target: &Running, words: &[&str]) -> String {
    let pid = target.pid().to_string();
    let output = Command::new("nsenter")
        .args(["-t", &pid, "-n", "-m"])
        .args(words)
        .output()
        .unwrap();
    text(&output)
}

#[test]
fn addresses_of_ipv6_are_dialled_asked_and_shown_as_curl_dig_and_ss_do() {
    let folder = tempfile::tempdir().unwrap();
    let Some(target) = joined(folder.path()) else {
        return;
    };
    let name = target.target();
    // tcp
    for (address, outcome, words) in [
        ("[::1]:7100", "connected", "connected"),
        ("[::1]:7101", "refused", "a TCP reset came back"),
        ("[fd00:9::2]:7000", "connected", "connected"),
        ("[fd00:9::2]:7001", "refused", "a TCP reset came back"),
        ("[fd00:9::2]:7002", "unreachable", "prohibited"),
        ("[fd00:a::1]:80", "unreachable", "`unreachable` route"),
        ("[fd00:b::1]:80", "unreachable", "no route"),
    ] {
        let words_of_tcp = [address, "--connect-timeout", "3s"];
        let told = report("tcp", &target, &words_of_tcp, &["-o", "json"]);
        let one = &told["connections"][0];
        assert_eq!(one["outcome"], outcome, "{address}: {told:#}");
        let said = one["said"].as_str().unwrap();
        assert!(said.contains(words), "{address}: {said}");
    }
    let told = report("tcp", &target, &["[fd00:9::2]:7000"], &["-o", "json"]);
    assert_eq!(told["connections"][0]["interface"], "near", "{told:#}");
    // curl, by address and by a name that only IPv6 knows
    if has("curl") {
        for url in ["http://[fd00:9::2]:7000/", "http://six.test:7000/"] {
            let theirs = there(&target, &["curl", "-6", "-s", url]);
            assert_eq!(theirs, "you are fd00:9::1", "{url}");
            let ours = kdbg(["-q", "curl", &name, url]);
            assert_code(&ours, 0);
            assert_eq!(text(&ours), theirs, "{url}");
        }
        let resolve = "web.test:7000:[fd00:9::2]";
        let ours = kdbg([
            "-q",
            "curl",
            &name,
            "http://web.test:7000/",
            "--resolve",
            resolve,
        ]);
        assert_eq!(text(&ours), "you are fd00:9::1");
    }
    // dig, with the server of IPv6 in the target's own resolv.conf
    if has("dig") {
        let theirs = there(&target, &["dig", "-6", "+short", "six.test", "AAAA"]);
        let ours = kdbg(["dig", &name, "six.test", "AAAA", "--short"]);
        assert_code(&ours, 0);
        assert_eq!(text(&ours), theirs);
        let told = report("dig", &target, &["six.test"], &["-o", "json"]);
        assert_eq!(told["queries"][0]["server"], "[fd00:9::2]:53");
        assert_eq!(told["resolutions"][0]["addresses"][0], "fd00:9::2");
    }
    // net
    if has("ss") {
        let told = report("net", &target, &[], &["-o", "json"]);
        let mut ours: Vec<_> = told["sockets"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["protocol"] == "tcp" && one["state"] != "TIME_WAIT")
            .map(|one| {
                let word = |key: &str| one[key].as_str().unwrap_or("[::]:*").to_owned();
                (word("address"), word("peer"))
            })
            .collect();
        ours.sort();
        let shown = there(&target, &["ss", "-6", "-Htan", "exclude", "time-wait"]);
        let mut theirs: Vec<_> = shown
            .lines()
            .map(|line| {
                let words: Vec<_> = line.split_whitespace().collect();
                (words[3].to_owned(), words[4].to_owned())
            })
            .collect();
        theirs.sort();
        assert_eq!(ours, theirs, "{shown}");
        assert!(
            ours.iter().any(|(_, far)| far == "[fd00:9::2]:7000"),
            "{ours:?}"
        );
    }
}
