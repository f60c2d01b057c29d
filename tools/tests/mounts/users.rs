//! Mounts of users who are not root, through `fusermount3`.

use super::{in_own_namespace, is_root};
use crate::cli::support::{CUSTOMERS_3, shop};

#[test]
fn a_user_mounts_reads_and_unmounts_through_fusermount3() {
    if !is_root() {
        // Then all other tests of mounts go this way.
        return;
    }
    let shop = shop();
    // A machine may keep its /dev/fuse for root: here, everybody may open it, as users' machines have it.
    let script = r#"
mkdir devices work; mount -t tmpfs -o mode=755 none devices
mknod devices/fuse c 10 229; chmod 666 devices/fuse; mount --bind devices/fuse /dev/fuse
chmod -R a+rX db; chown 65534:65534 work
cat > script <<'END'
try() { status=0; "$@" || status=$?; echo "status $status"; }
cd work; export HOME=$PWD; mkdir mnt
$ASOF mount ../db mnt -b -q
cat mnt/latest/customers.csv
head -c 4 mnt/version/2/customers.parquet; echo
stat -c '%U %A' mnt/latest/customers.csv
exec 3<mnt/version/1/customers.csv
try $ASOF umount mnt -q
exec 3<&-
try $ASOF umount mnt -q
try $ASOF mount ../db mnt -b -q --allow-other
pid=$($ASOF mount ../db mnt -b --json | tr -dc 0-9,: | sed 's/.*://')
kill -9 $pid
while ls mnt >ls.log 2>&1; do :; done
try $ASOF mount ../db mnt -q
try $ASOF umount mnt -q
$ASOF mount ../db mnt -b -q
fusermount3 -u mnt
$ASOF mount ../db made -b -q
try $ASOF umount made -q
ls
END
setpriv --reuid=65534 --regid=65534 --clear-groups sh -eu script
"#;
    let printed = in_own_namespace(&shop, script);
    let told: Vec<&str> = printed.strip_prefix(CUSTOMERS_3).expect(&printed).lines().collect();
    let expected = [
        "PAR1",
        "nobody -r--------",
        "is in use",
        "status 1",
        "status 0",
        "user_allow_other",
        "status 1",
        "is a dead mount",
        "status 1",
        "status 0",
        "status 0",
        "ls.log",
        "mnt",
    ];
    assert_eq!(told.len(), expected.len(), "{printed}");
    for (line, expected) in told.iter().zip(expected) {
        assert!(line.contains(expected), "{expected}: {printed}");
    }
}
