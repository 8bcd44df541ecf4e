"""Asks pip-audit about a lock file and says how much of it could be asked: `make scan`.

Exit status 1 for a known vulnerability, 3 where no advisory can be asked for (a mirror without
them): pip-audit passes over every package in silence then, which is no finding and no proof.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def main() -> int:
    lock = sys.argv[1]
    command = ["pip-audit", "--disable-pip", "--require-hashes", "--format=json", "-r", lock]
    command[0] = str(Path(sys.executable).with_name("pip-audit"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if not done.stdout:
        print(f"{lock}: {done.stderr.strip()[-300:]}", file=sys.stderr)
        return 1
    packages = json.loads(done.stdout)["dependencies"]
    asked = [package for package in packages if "skip_reason" not in package]
    print(f"{lock}: {len(asked)} of {len(packages)} packages have advisories that can be asked")
    found = [(package, vuln) for package in asked for vuln in package["vulns"]]
    for package, vuln in found:
        fixed = ", ".join(vuln["fix_versions"]) or "no version"
        print(f"{package['name']} {package['version']}: {vuln['id']}, fixed in {fixed}")
    if not asked:
        print(f"{lock}: NOT AUDITED, as the package index here has no advisories to ask for")
        return 3
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
