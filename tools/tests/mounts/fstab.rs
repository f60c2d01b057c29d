//! `mount(8)` and fstab, by `mount.asof`.

use super::{in_own_namespace, is_root};
use crate::cli::support::{CUSTOMERS_1, CUSTOMERS_3, shop};

/// Puts the helper where `mount(8)` looks, beside what is there.
const HELPER: &str = r#"
mkdir sbin; ln -s $ASOF sbin/mount.asof
there=$(realpath /sbin); mount -t overlay -o lowerdir=$PWD/sbin:$there none $there
"#;

#[test]
fn lines_of_fstab_are_mounted_once_and_unmounted() {
    if !is_root() {
        // It takes root to change what /sbin holds.
        return;
    }
    let shop = shop();
    let script = r#"
cat > fstab <<END
$PWD/db $PWD/mnt asof ro,nofail,_netdev,x-systemd.automount,allow_other,uid=12,gid=34,mode=440,formats=csv:jsonl,cache_size=1GiB 0 0
$PWD/db $PWD/then asof ro,user,at="2025-01-15" 0 0
$PWD/db $PWD/never asof ro,noauto 0 0
END
mount -a -T fstab
mount -a -T fstab
mount -T fstab $PWD/never
cat mnt/latest/customers.csv
ls -ln mnt/latest/customers.jsonl | cut -d ' ' -f 1,3,4
ls mnt/latest
cat then/customers.csv
test -e never/latest/customers.parquet
findmnt -n -o SOURCE $PWD/mnt
umount mnt never; umount $PWD/then
grep -c " fuse.asof " /proc/self/mountinfo || true
"#;
    let printed = in_own_namespace(&shop, &format!("{HELPER}{script}"));
    let expected = format!(
        "{CUSTOMERS_3}-r--r----- 12 34\ncustomers.csv\ncustomers.jsonl\ncustomers.schema.json\ngold\n{CUSTOMERS_1}{}\n0\n",
        shop.path("db").canonicalize().unwrap().display()
    );
    assert_eq!(printed, expected);
}

#[test]
fn what_mount_cannot_do_is_told_with_its_statuses() {
    if !is_root() {
        return;
    }
    let shop = shop();
    let script = r#"
try() { status=0; mount -t asof "$@" || status=$?; echo "status $status"; }
try db mnt
try db mnt -o ro,speed=high
try db mnt -o ro,mode=777
try nothing mnt -o ro
try db db/mnt -o ro
try db mnt -o ro,speed=high -s -f
try db mnt -o ro
try db mnt -o ro
umount mnt
"#;
    let printed = in_own_namespace(&shop, &format!("{HELPER}{script}"));
    let mut lines = printed.lines();
    for (part, status) in [
        ("the past cannot be written; add the option 'ro'", 1),
        ("unknown option 'speed=high'", 1),
        ("is no mode of a read-only directory", 1),
        ("is not a database", 32),
        ("lies inside the database", 32),
        ("", 0),
        ("", 0),
        ("is mounted there already", 32),
    ] {
        if !part.is_empty() {
            let line = lines.next().unwrap();
            assert!(line.contains(part), "{part}: {printed}");
        }
        assert_eq!(lines.next(), Some(format!("status {status}").as_str()), "{part}: {printed}");
    }
    assert_eq!(lines.next(), None, "{printed}");
}

#[test]
fn a_place_that_is_mounted_on_demand_is_not_looked_into() {
    if !is_root() {
        return;
    }
    let shop = shop();
    // As systemd does it: the first look at the place waits for who mounts there, and nobody answers it here.
    let script = r#"
mkdir there mnt
mkfifo requests; exec 8<>requests
python3 - <<END
import ctypes, os
options = f"fd=8,pgrp={os.getpgrp()},minproto=5,maxproto=5,direct".encode()
libc = ctypes.CDLL(None, use_errno=True)
reader, writer = os.pipe()
os.dup2(writer, 8)
# Who mounts is in another group than the one that may look.
os.setpgrp()
options = f"fd=8,pgrp={os.getpgrp()},minproto=5,maxproto=5,direct".encode()
if libc.mount(b"test", os.path.abspath("mnt").encode(), b"autofs", 0, options):
    raise OSError(ctypes.get_errno(), "mounting autofs")
if os.fork() == 0:
    os.setsid()
    os.execv("/usr/bin/timeout", ["timeout", "60", os.environ["ASOF"], "mount", "db", "mnt", "--background", "-q"])
if os.wait()[1]:
    raise SystemExit("no mount")
print(open("mnt/version/1/customers.csv").readline(), end="", flush=True)
END
$ASOF umount -q mnt
umount mnt
"#;
    assert_eq!(in_own_namespace(&shop, script), "id,name,city\n");
}
