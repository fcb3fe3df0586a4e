//! What packages do beside unpacking. Package managers tell scripts in different ways what happens;
//! what the scripts then do is the same.

/// How the scripts of a package manager find out what happens: conditions of the shell.
#[derive(Debug)]
pub(super) struct Conditions {
    /// After unpacking: everything is in its place.
    pub(super) installed: &'static str,
    /// There, if another version was replaced.
    pub(super) upgrade: &'static str,
    /// Before files go: no other version takes their place.
    pub(super) removal: &'static str,
    /// After files have gone: nothing of the package is wanted any more.
    pub(super) purge: &'static str,
}

#[derive(Debug)]
pub(super) struct Scripts {
    /// After unpacking.
    pub(super) unpacked: String,
    /// Before files go.
    pub(super) going: String,
    /// After files have gone.
    pub(super) gone: String,
}

impl Scripts {
    pub(super) fn new(conditions: &Conditions) -> Self {
        let Conditions { installed, upgrade, removal, purge } = conditions;
        // systemd reads the units, and a service that ran runs the new version. Nodes of several are
        // restarted by hand, one after the other.
        let unpacked = format!(
            "\
#!/bin/sh
set -e
if {installed} && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    if {upgrade}; then
        systemctl try-restart nightbell.service
    else
        echo 'nightbell: start it with: systemctl enable --now nightbell'
    fi
fi
"
        );
        // An upgrade restarts the service afterwards instead.
        let going = format!(
            "\
#!/bin/sh
set -e
if {removal} && [ -d /run/systemd/system ]; then
    systemctl disable --now nightbell.service || true
fi
"
        );
        // The store and its key are not the package's.
        let gone = format!(
            "\
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
if {purge}; then
    for store in /var/lib/private/nightbell /var/lib/nightbell; do
        if [ -d \"$store\" ] && [ ! -L \"$store\" ]; then
            echo \"nightbell: $store stays; remove it by hand\"
        fi
    done
fi
"
        );
        Self { unpacked, going, gone }
    }
}
