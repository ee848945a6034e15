"""CDI specifications: what they hold, what engines read, and whether they still fit the machine."""

from __future__ import annotations

import pytest
from judged_snapshots import Row, check, named

from aistack.facts.catalog import Catalog
from aistack.facts.cdi import since

ROWS = (
    Row(
        rule="CD101",
        says="names version 0.5.0, but uses `containerEdits.additionalGids`, which came with 0.7.0",
        fires="runtime: {cdi: {spec_version: 0.5.0, fields: [containerEdits.additionalGids]}}",
        silent="runtime: {cdi: {spec_version: 0.7.0, fields: [containerEdits.additionalGids]}}",
        lacking="runtime: {cdi: {fields: [containerEdits.additionalGids]}}",
    ),
    Row(
        rule="CD102",
        says="generated for driver 535.161.07, but 535.171.04 is installed",
        fires="driver: {version: 535.171.04}; runtime: {cdi: {driver: 535.161.07}}",
        silent="driver: {version: 535.171.04}; runtime: {cdi: {driver: '535'}}",
        lacking="runtime: {cdi: {driver: 535.161.07}}",
    ),
    Row(
        rule="CD102",
        says="generated for driver 535.161.07, but 535.171.04 is installed",
        fires="driver: {version: 535.171.04}; runtime: {cdi: {mounts: [/usr/lib64/libcuda.so.535.161.07]}}",
        silent="driver: {version: 535.171.04}; runtime: {cdi: {mounts: [/usr/lib64/libnvidia-egl-gbm.so.1.1.1]}}",
        lacking="driver: {version: 535.171.04}; runtime: {cdi: {mounts: [/usr/lib64/libcuda.so]}}",
    ),
    Row(
        rule="CD103",
        says="mounts /usr/lib/libnvidia-egl-wayland.so.1.1.13, which the host does not have",
        fires="runtime: {cdi: {mounts: [/usr/lib/libnvidia-egl-wayland.so.1.1.13], host_libraries: [libnvidia-egl-wayland.so.1.1.16]}}",
        silent="runtime: {cdi: {mounts: [/usr/lib/libnvidia-egl-wayland.so.1.1.16], host_libraries: [libnvidia-egl-wayland.so.1.1.16]}}",
        lacking="runtime: {cdi: {mounts: [/usr/lib/libnvidia-egl-wayland.so.1.1.13]}}",
    ),
    Row(
        rule="CD104",
        says="no CDI specification offers management.nvidia.com/gpu=GPU-e78e68c0",
        fires="runtime: {cdi: {requested: management.nvidia.com/gpu=GPU-e78e68c0}}",
        silent="runtime: {cdi: {requested: management.nvidia.com/gpu=all}}",
        lacking="runtime: {cdi: {requested: nvidia.com/gpu=GPU-e78e68c0}}",
    ),
    Row(
        rule="CD104",
        says="no CDI specification offers nvidia.com/gpu=all",
        fires="runtime: {cdi: {requested: nvidia.com/gpu=all, devices: [nvidia.com/gpu=0]}}",
        silent="runtime: {cdi: {requested: nvidia.com/gpu=0, devices: [nvidia.com/gpu=0]}}",
        lacking="runtime: {cdi: {devices: [nvidia.com/gpu=0]}}",
    ),
    Row(
        rule="CD105",
        says="libraries lie in /var/lib/nvidia/lib64",
        fires="driver: {lib_path: /var/lib/nvidia/lib64}; runtime: {cdi: {library_search_path: []}}",
        silent="driver: {lib_path: /var/lib/nvidia/lib64}; runtime: {cdi: {library_search_path: /opt/lib:/var/lib/nvidia/lib64/}}",
        lacking="driver: {lib_path: /var/lib/nvidia/lib64}; runtime: {cdi: {mode: nvml}}",
    ),
    Row(
        rule="CD106",
        says="podman 4.2.0 does not read CDI specifications of version 0.5.0",
        fires="runtime: {podman: 4.2.0, cdi: {spec_version: 0.5.0}}",
        silent="runtime: {podman: 4.3.0, cdi: {spec_version: 0.5.0}}",
        lacking="runtime: {podman: 4.2.0, cdi: {mode: nvml}}",
    ),
    Row(
        rule="CD106",
        says="podman 3.4.4 does not read CDI specifications",
        fires="runtime: {podman: 3.4.4, cdi: {spec_version: 0.3.0}}",
        silent="runtime: {podman: 4.9.4-rhel, cdi: {spec_version: 0.6.0}}",
        lacking="runtime: {podman: 3.4.4}",
    ),
    Row(
        rule="CD107",
        says="Docker 27.3.1 does not read CDI specifications of version 0.8.0",
        fires="runtime: {docker: 27.3.1, cdi: {spec_version: 0.8.0}}",
        silent="runtime: {docker: 27.4.0, cdi: {spec_version: 0.8.0}}",
        lacking="runtime: {docker: 27.3.1}",
    ),
    Row(
        rule="CD108",
        says="containerd 1.7.13 does not read CDI specifications of version 0.7.0",
        fires="runtime: {containerd: 1.7.13, cdi: {spec_version: 0.7.0}}",
        silent="runtime: {containerd: 1.7.27, cdi: {spec_version: 0.7.0}}",
        lacking="runtime: {cdi: {spec_version: 0.7.0}}",
    ),
    Row(
        rule="CD109",
        says="CRI-O 1.27.1 does not read CDI specifications of version 0.6.0",
        fires="runtime: {crio: 1.27.1, cdi: {spec_version: 0.6.0}}",
        silent="runtime: {crio: {version: 1.28.0}, cdi: {spec_version: 0.6.0}}",
        lacking="runtime: {crio: {}, cdi: {spec_version: 0.6.0}}",
    ),
    Row(
        rule="CD110",
        says="docker 24.0.7 gives containers no CDI devices",
        fires="runtime: {docker: 24.0.7, cdi: {requested: [nvidia.com/gpu=all]}}",
        silent="runtime: {docker: 24.0.7, cdi: {mode: cdi, requested: [nvidia.com/gpu=all]}}",
        lacking="runtime: {docker: {}, cdi: {requested: [nvidia.com/gpu=all]}}",
    ),
    Row(
        rule="CD110",
        says="podman 3.0.1 gives containers no CDI devices",
        fires="runtime: {podman: 3.0.1, cdi: {requested: [nvidia.com/gpu=0]}}",
        silent="runtime: {podman: 4.1.0, cdi: {requested: [nvidia.com/gpu=0]}}",
        lacking="runtime: {podman: 3.0.1}",
    ),
    Row(
        rule="CD110",
        says="containerd 1.6.33 gives containers no CDI devices",
        fires="runtime: {containerd: 1.6.33, cdi: {requested: [nvidia.com/gpu=all]}}",
        silent="runtime: {docker: 28.3.0, containerd: 1.6.33, cdi: {requested: [nvidia.com/gpu=all]}}",
        lacking="runtime: {cdi: {requested: [nvidia.com/gpu=all]}}",
    ),
    Row(
        rule="CD111",
        says="CDI is switched off in ",
        fires="runtime: {docker: 27.3.1, cdi: {requested: [nvidia.com/gpu=all], state: disabled}}",
        silent="runtime: {docker: 27.3.1, cdi: {requested: [nvidia.com/gpu=all], state: enabled}}",
        lacking="runtime: {docker: 27.3.1, cdi: {requested: [nvidia.com/gpu=all]}}",
    ),
    Row(
        rule="CD111",
        says="CDI is switched off in ",
        fires="runtime: {containerd: 1.7.24, cdi: {requested: [nvidia.com/gpu=all], state: disabled}}",
        silent="runtime: {containerd: 2.0.2, cdi: {requested: [nvidia.com/gpu=all]}}",
        lacking="runtime: {containerd: 1.7.24, cdi: {requested: [nvidia.com/gpu=all]}}",
    ),
    Row(
        rule="CD111",
        says="CDI is switched off in ",
        fires="runtime: {docker: 28.3.2, cdi: {requested: [nvidia.com/gpu=all], state: disabled}}",
        silent="runtime: {docker: 28.3.2, cdi: {requested: [nvidia.com/gpu=all]}}",
        lacking="runtime: {docker: 28.3.2, cdi: {state: disabled}}",
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_rules(row: Row, catalog: Catalog) -> None:
    check(row, catalog)


@pytest.mark.parametrize(
    ("field", "version"),
    [
        ("deviceNodes.hostPath", "0.5.0"),
        ("devices[].containerEdits.deviceNodes[].hostPath", "0.5.0"),
        ("containerEdits.mounts.type", "0.4.0"),
        ("annotations", "0.6.0"),
        ("deviceNodes.path", None),
    ],
)
def test_the_version_that_brought_a_field(field: str, version: str | None) -> None:
    assert since(field) == version
