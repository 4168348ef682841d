#!/bin/sh
# Runs Retour from the virtual environment that `make install` made. Where an upgrade of the system has brought another
# Python, the environment cannot work any more; then this says so, with the exit status of a wrong configuration.
home=${RETOUR_HOME:-/opt/retour}
python=$(readlink -f "$home/bin/python3")
if ! [ -x "$python" ] || ! [ -d "$home/lib/${python##*/}/site-packages/retour_cli" ]; then
    echo "retour: $home was made for another Python than the one that is here now, as after an upgrade of the system;" \
        "run \`make install\` in the checkout again (docs/keeping.md, After an upgrade of the system)" >&2
    exit 78
fi
exec "$home/bin/python3" -I -m retour_cli "$@"
