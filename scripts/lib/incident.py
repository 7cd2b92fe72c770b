#!/usr/bin/env python3
"""Incident 000 for scripts and tests: its repository, and what runs it on a cluster.

usage: incident.py repository FOLDER    makes the git repository, with master and refs/pull/1/head
       incident.py services             prints the Services and what answers behind them, for kubectl apply
       incident.py page NAME [CODE]     prints the Deployment NAME with the code of `pull` (the default) or `master`

The page must be applied after the Services: the kubelet gives links to those that exist when a container starts.
"""

import json
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
INCIDENT = TOP / "tests" / "incidents" / "000"
# Where the service is in its repository, and where the image has it.
FOLDER = "src/productpage"
RUNNING = "/opt/microservices"
PORT = 9080


def main():
    match sys.argv[1:]:
        case ["repository", folder]:
            make_repository(pathlib.Path(folder))
        case ["services"]:
            print(json.dumps(listed(services())))
        case ["page", name, *code]:
            print(json.dumps(listed(page(name, *code))))
        case _:
            sys.exit(__doc__)


def files(branch):
    """The files of a branch, by path; `pull` has what it changes of `master`."""
    found = {}
    for folder in dict.fromkeys(["master", branch]):
        for path in sorted((INCIDENT / folder).rglob("*")):
            if path.is_file():
                found[str(path.relative_to(INCIDENT / folder))] = path.read_text()
    return found


def make_repository(folder):
    def git(*words):
        command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@invalid", "-c", "commit.gpgsign=false", *words]
        subprocess.run(command, check=True)

    def commit(message, changes):
        for path, content in changes.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        git("add", "--all", "--force")
        git("commit", "--quiet", "--message", message)

    def service(branch):
        return {f"{FOLDER}/{path}": content for path, content in files(branch).items()}

    folder.mkdir(parents=True)
    git("init", "--quiet", "--initial-branch=master")
    commit("the page", {"README.md": "# Books\n", "src/reviews/reviews.py": "# another service\n", **service("master")})
    commit("reviews: stars", {"src/reviews/reviews.py": "# another service, with stars\n"})
    git("checkout", "--quiet", "--detach")
    commit("variables to override the ports", service("pull"))
    git("update-ref", "refs/pull/1/head", "HEAD")
    git("checkout", "--quiet", "master")
    commit("a longer README", {"README.md": "# Books\n\nA page of books.\n"})


def tree(branch):
    """The code of a branch as its image would have it: tests moved to the top, no Dockerfile, compiled modules."""
    image = {path.removeprefix("tests/"): content for path, content in files(branch).items() if path != "Dockerfile"}
    return {**image, "__pycache__/test_productpage.cpython-311.pyc": "compiled"}


# What puts the code there before the page starts.
FILL = f"""import json, os
for path, content in json.load(open('/config/tree.json')).items():
    path = os.path.join('{RUNNING}', path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, 'w').write(content)"""


def listed(objects):
    return {"apiVersion": "v1", "kind": "List", "items": objects}


def container(name, image, **more):
    security = {"allowPrivilegeEscalation": False, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}}
    security["seccompProfile"] = {"type": "RuntimeDefault"}
    return {"name": name, "image": f"kdbg.local/{image}", "imagePullPolicy": "IfNotPresent", "securityContext": security, **more}


def ready(port, path):
    return {"httpGet": {"path": path, "port": port}, "periodSeconds": 1, "failureThreshold": 60}


def services():
    objects = []
    for name in ("details", "ratings", "reviews"):
        ports = [{"port": PORT, "targetPort": 8080}]
        objects.append({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"selector": {"app": name}, "ports": ports}})
        app = container("app", "python:user", readinessProbe=ready(8080, "/"))
        spec = {"containers": [app], "terminationGracePeriodSeconds": 1}
        objects.append({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
    return objects


def page(name, code="pull", replicas=1):
    app = {"name": "app", "mountPath": RUNNING}
    volumes = [{"name": "tree", "configMap": {"name": f"{name}-code"}}, {"name": "app", "emptyDir": {}}]
    fill = container("fill", "flask:user", command=["/usr/bin/python3.11", "-c", FILL], volumeMounts=[{"name": "tree", "mountPath": "/config"}, app])
    serve = container(
        "productpage",
        "flask:user",
        command=["/usr/bin/python3.11", "productpage.py", str(PORT)],
        workingDir=RUNNING,
        volumeMounts=[app],
        readinessProbe=ready(PORT, "/health"),
    )
    spec = {"initContainers": [fill], "containers": [serve], "volumes": volumes, "terminationGracePeriodSeconds": 1}
    labels = {"app": name}
    template = {"metadata": {"labels": labels}, "spec": spec}
    deployment = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{name}-code"}, "data": {"tree.json": json.dumps(tree(code))}},
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": deployment},
    ]


if __name__ == "__main__":
    main()
