//! `archive`, `recover` and `backup` as they are typed, and archives in DB's place.

use super::Destination;
use crate::cli::support::*;
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn an_archive_is_made_asked_read_and_recovered() {
    for there in Destination::all() {
        let (shop, name) = (shop(), there.name.as_str());
        let shipped = json(&there.ok(&shop, &["archive", "db", name, "--json"]));
        assert_eq!((&shipped["shipment"], &shipped["version"]), (&1.into(), &4.into()));
        assert_eq!(shipped["time"], "2025-04-01T00:00:00.000000Z");
        assert!(
            there
                .ok(&shop, &["archive", "db", name])
                .starts_with("nothing to ship: everything up to version 4")
        );
        let status = json(&there.ok(&shop, &["archive", "db", name, "--status", "--json"]));
        assert_eq!((&status["version"], &status["behind"]["versions"]), (&4.into(), &0.into()));
        assert_eq!((&status["same_database"], &status["shipments"]), (&true.into(), &1.into()));
        // In DB's place.
        assert_eq!(there.ok(&shop, &["cat", name, "customers", "--as-of", "2"]), CUSTOMERS_2);
        for words in [
            &["log", "--json"][..],
            &["tables"],
            &["diff", "1", "3", "--format", "jsonl"],
            &["schema", "gold.parts"],
            &["show", "2"],
            &["get", "customers", "3"],
            &["resolve", "2025-02-15"],
            &["history", "customers"],
        ] {
            let with = |database: &str| {
                let mut words = words.to_vec();
                words.insert(1, database);
                there.ok(&shop, &words)
            };
            assert_eq!(with(name), with("db"), "{words:?}");
        }
        let report = there.ok(&shop, &["verify", name]);
        assert!(report.starts_with("no damage: 4 versions"), "{report}");
        let refused = there.fails(&shop, 1, &["tag", name, "q1", "2"]);
        assert!(refused.contains("is an archive, which is read-only"), "{refused}");
        // Recovered to a time, then to another one.
        let to = ["recover", name, "new", "--to", "2025-02-15"];
        let told = there.run(&shop, &to);
        assert_eq!(told.status, 0, "{}", told.stderr);
        assert!(
            told.stderr.contains("target   version 2 (2025-02-01T00:00:00.000000Z), which 2025-02-15 names")
        );
        assert!(told.stderr.contains("beyond   2 versions up to 4"), "{}", told.stderr);
        assert!(told.text().starts_with("recovered version 2 ("), "{}", told.text());
        assert_eq!(shop.ok(&["cat", "new", "customers"]), CUSTOMERS_2);
        assert_eq!(shop.ok(&["log", "new", "--oneline"]).lines().count(), 2);
        let again = json(&there.ok(&shop, &["recover", name, "new", "--json"]));
        assert_eq!((&again["version"], &again["newest"]), (&4.into(), &4.into()));
        assert_eq!(shop.ok(&["cat", "new", "gold.parts"]), shop.ok(&["cat", "db", "gold.parts"]));
        shop.ok(&["verify", "new"]);
        let rehearsed = there.ok(&shop, &["recover", name, "--verify", "3"]);
        assert!(rehearsed.ends_with("no difference\n") && rehearsed.lines().count() == 4, "{rehearsed}");
    }
}

#[test]
fn what_cannot_be_recovered_is_told_with_what_can() {
    let (shop, there) = (shop(), Destination::directory());
    assert!(there.fails(&shop, 3, &["recover", "archive", "new"]).contains("is not an archive"));
    there.ok(&shop, &["archive", "db", "archive"]);
    let later = there.fails(&shop, 3, &["recover", "archive", "new", "--to", "9"]);
    assert!(later.contains("version 9") && later.contains('4'), "{later}");
    let error = shop.run(&["recover", "archive", "new", "--to", "2999-01-01", "--json"]).stderr;
    let error = json(&error);
    assert_eq!((&error["error"]["code"], &error["error"]["nearest"][0]), (&"not_found".into(), &"4".into()));
    assert!(!shop.path("new").exists() && !shop.path("new.recovering").exists());
    let list = shop.json_lines(&["recover", "archive", "--list"]);
    assert_eq!((&list[0]["from"], &list[list.len() - 1]["to"]), (&0.into(), &4.into()));
    assert_eq!(list[list.len() - 1]["to_time"], "2025-04-01T00:00:00.000000Z");
    let plan = shop.json(&["recover", "archive", "--to", "3", "--dry-run"]);
    assert_eq!((&plan["target"], &plan["beyond"]), (&3.into(), &1.into()));
    assert!(there.fails(&shop, 2, &["recover", "archive"]).contains("<DB>"));
    std::fs::create_dir(shop.path("mine")).unwrap();
    shop.write("mine/letter.txt", "dear");
    assert!(there.fails(&shop, 1, &["recover", "archive", "mine"]).contains("no recovery made it"));
}

#[test]
fn the_database_of_the_environment_is_archived() {
    let shop = shop();
    let mut command = shop.command(&["archive", "there"]);
    let ran: Ran = command.env("ASOF_DB", "db").output().unwrap().into();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let mut command = shop.command(&["cat", "customers"]);
    let ran: Ran = command.env("ASOF_DB", "there").output().unwrap().into();
    assert_eq!(ran.text(), CUSTOMERS_3);
}

#[test]
fn an_archive_is_mounted() {
    for there in Destination::all() {
        let (shop, name) = (shop(), there.name.as_str());
        there.ok(&shop, &["archive", "db", name]);
        let place = MountGuard(shop.path("mnt"));
        there.ok(&shop, &["mount", name, "mnt", "--background"]);
        let read = |path: &str| std::fs::read_to_string(place.0.join(path)).unwrap();
        assert_eq!(read("version/2/customers.csv"), CUSTOMERS_2);
        assert_eq!(read("asof/2025-03-15/customers.csv"), CUSTOMERS_3);
        // What is shipped later comes.
        shop.apply("{\"ops\":[{\"op\":\"delete\",\"table\":\"customers\",\"keys\":[{\"id\":2}]}]}\n");
        there.ok(&shop, &["archive", "db", name]);
        wait_until("the new version is shown", || place.0.join("version/5/customers.csv").exists());
        assert_eq!(read("version/5/customers.csv"), "id,name,city\n3,Cy,\"\"\n");
        shop.ok(&["umount", "mnt"]);
    }
}

#[cfg(feature = "sql")]
#[test]
fn an_archive_is_asked_in_sql() {
    for there in Destination::all() {
        let (shop, name) = (shop(), there.name.as_str());
        there.ok(&shop, &["archive", "db", name]);
        let select = "SELECT count(*) AS n FROM customers VERSION AS OF 2";
        assert_eq!(there.ok(&shop, &["sql", name, select]), "n\n3\n");
        assert!(there.fails(&shop, 1, &["sql", name, "DELETE FROM customers"]).contains("read"));
    }
}

#[test]
fn a_bucket_that_does_not_answer_is_told_of() {
    let shop = shop();
    let mut command = shop.command(&["cat", "s3://bucket/prefix", "customers"]);
    command.envs([("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), ("AWS_ALLOW_HTTP", "true")]);
    command.envs([("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "x")]);
    let ran: Ran = command.output().unwrap().into();
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("s3://bucket/prefix") && ran.stderr.lines().count() == 1, "{}", ran.stderr);
    let wrong = shop.fails(1, &["archive", "db", "gopher://x/y"]);
    assert!(wrong.contains("gopher:// is not supported"), "{wrong}");
}

#[test]
fn a_copy_is_a_database_of_its_own() {
    for words in [&[][..], &["--link"]] {
        let shop = shop();
        let made = json(&shop.ok(&[&["backup", "db", "copy", "--json"], words].concat()));
        assert_eq!(made["version"], 4);
        shop.ok(&["verify", "copy"]);
        shop.ok(&["drop-table", "copy", "customers"]);
        assert_eq!(shop.ok(&["cat", "db", "customers"]), CUSTOMERS_3);
        assert_eq!(shop.ok(&["cat", "copy", "customers", "--as-of", "3"]), CUSTOMERS_3);
        assert!(shop.fails(1, &["backup", "db", "copy"]).contains("is not empty"));
        // Rendered files are not mixed up, though the id is the same and both have a version 5.
        shop.apply("{\"ops\":[{\"op\":\"delete\",\"table\":\"customers\",\"keys\":[{\"id\":2}]}]}\n");
        assert!(shop.ok(&["log", "copy", "-n", "1", "--oneline"]).contains("drop"));
        assert!(!shop.ok(&["log", "db", "-n", "1", "--oneline"]).contains("drop"));
    }
}

#[test]
fn nothing_is_put_inside_a_database_or_an_archive() {
    let shop = shop();
    shop.ok(&["archive", "db", "archive"]);
    for words in [
        &["archive", "db", "db/data/x"][..],
        &["backup", "db", "db/wal/b"],
        &["export", "db", "db/e/f"],
        &["recover", "archive", "archive/r"],
    ] {
        let told = shop.fails(2, words);
        assert!(told.contains("lies inside") && told.contains("name a place beside it"), "{words:?}: {told}");
    }
    shop.ok(&["verify", "db"]);
}

#[test]
fn an_archive_that_lost_its_identity_is_taken_up_by_its_own_database_alone() {
    let shop = shop();
    shop.ok(&["archive", "db", "archive"]);
    std::fs::remove_file(shop.path("archive/archive.json")).unwrap();
    shop.ok(&["create-table", "other", "t", "id int64, primary key (id)"]);
    assert!(shop.fails(4, &["archive", "other", "archive"]).contains("is foreign"));
    assert!(!shop.path("archive/archive.json").exists());
    shop.ok(&["archive", "db", "archive"]);
    assert_eq!(shop.ok(&["cat", "archive", "customers"]), CUSTOMERS_3);
}
