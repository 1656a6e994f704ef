"""Make data_manifests/figshare.json from original .mat files and the table of slices."""

from __future__ import annotations

import argparse
from pathlib import Path

from ckdmed.data.manifest import make_figshare_manifest, write_manifest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="original <id>.mat files")
    parser.add_argument("slices_csv", type=Path, help="table: id, patient_id, patient_group, label, fold")
    parser.add_argument("--output", type=Path, default=Path("data_manifests/figshare.json"))
    args = parser.parse_args()
    manifest = make_figshare_manifest(args.folder, args.slices_csv)
    write_manifest(manifest, args.output)
    print(f"{args.output}: {manifest['slices_listed']} slices, {manifest['slices_hashed']} with a hash")


if __name__ == "__main__":
    main()
