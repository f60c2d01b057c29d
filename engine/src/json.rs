//! What the engine knows, as JSON: one shape for the command line, the mount and every other door.
//!
//! Fields are only ever added. Times are RFC 3339 in UTC with microseconds, ids and digests lowercase hex, values of
//! columns as in JSON Lines. The commit log is also a table ([`commits_schema`]), so that it has the forms that tables
//! have.

use crate::api::*;
use crate::asof::format_time;
use crate::compare::{SchemaChange, TableDiff};
use crate::error::Result;
use crate::text::{Cells, JsonRows, hex};
use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, UInt64Array};
use asof_mvcc::{Column, ColumnType, CommitTime, TableSchema, Unit, Version};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A time, or null for that of version 0, which has none.
fn time(time: CommitTime) -> Value {
    if time == CommitTime::MIN { Value::Null } else { format_time(time).into() }
}

fn texts(map: &BTreeMap<String, String>) -> Value {
    map.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect::<Map<_, _>>().into()
}

fn counts_by_table(tables: &BTreeMap<String, Counts>) -> Value {
    tables.iter().map(|(table, counts)| (table.clone(), counts_to_json(counts))).collect::<Map<_, _>>().into()
}

/// `{"inserted":..,"updated":..,"deleted":..}`
pub fn counts_to_json(counts: &Counts) -> Value {
    json!({"inserted": counts.inserted, "updated": counts.updated, "deleted": counts.deleted})
}

/// A commit, with the tags that name its version now and whether that version can be read.
pub fn commit_info_to_json(info: &CommitInfo, tags: &[String], readable: bool) -> Value {
    let schema_changes: Vec<Value> =
        info.schema_changes.iter().map(|(table, change)| json!({"table": table, "change": change})).collect();
    json!({
        "version": info.version.0,
        "parent": info.version.previous().map(|parent| parent.0),
        "id": info.id.to_string(),
        "time": time(info.time),
        "wall_time": time(info.wall_time),
        "author": info.author,
        "host": info.host,
        "message": info.message,
        "operation": info.operation,
        "parameters": texts(&info.parameters),
        "read_version": info.read_version.0,
        "isolation": info.isolation,
        "blind_append": info.blind_append,
        "meta": texts(&info.meta),
        "tables": counts_by_table(&info.tables),
        "tags": tags,
        "readable": readable,
        "os_user": info.os_user,
        "client_id": info.client_id,
        "schema_changes": schema_changes,
        "content_digest": hex(&info.content_digest),
        "chain_digest": hex(&info.chain_digest),
    })
}

/// A table's schema as of the version that last changed the table.
pub fn schema_to_json(name: &str, schema: &TableSchema, changed: Version) -> Value {
    let columns: Vec<Value> = schema
        .columns
        .iter()
        .map(|column| {
            json!({
                "id": column.id,
                "name": column.name,
                "type": column.column_type.to_string(),
                "nullable": column.nullable,
                "default": column.default.as_ref().map(value_to_json),
            })
        })
        .collect();
    let key: Vec<&str> = schema.key_columns().map(|column| column.name.as_str()).collect();
    let mut document = json!({"table": name, "changed": changed.0, "columns": columns, "key": key});
    if !schema.checks.is_empty() {
        let checks =
            schema.checks.iter().map(|check| json!({"name": check.name, "expression": check.expression}));
        document["checks"] = checks.collect();
    }
    document
}

/// The first value of an array.
fn value_to_json(array: &ArrayRef) -> Value {
    let mut out = Vec::new();
    Cells::of(array).write_json(0, &mut out);
    serde_json::from_slice(&out).expect("the JSON form of a value is JSON")
}

/// A table at a version.
pub fn table_info_to_json(info: &TableInfo) -> Value {
    let key: Vec<&str> = info.schema.key_columns().map(|column| column.name.as_str()).collect();
    json!({
        "table": info.name,
        "id": info.id,
        "rows": info.rows,
        "columns": info.schema.columns.len(),
        "key": key,
        "changed": info.changed.0,
        "changed_time": time(info.changed_time),
    })
}

/// One row of a batch that has the schema's columns: an object with the values of JSON Lines. (Exponents may be written
/// with a plus: a [`Value`] keeps numbers so.)
pub fn row_to_json(schema: &TableSchema, batch: &RecordBatch, row: usize) -> Value {
    let mut line = Vec::new();
    JsonRows::new(schema, batch).write(row, &mut line);
    serde_json::from_slice(&line).expect("a line of JSON Lines is JSON")
}

/// What was counted between two versions, of each table that differs.
pub fn diff_stat_to_json(from: Version, to: Version, tables: &[TableDiff]) -> Value {
    let stat = |table: &TableDiff| {
        let schema_changes: Vec<Value> = table.schema_changes().iter().map(SchemaChange::to_json).collect();
        json!({
            "rows_before": table.rows_before(),
            "rows_after": table.rows_after(),
            "inserted": table.counts.inserted,
            "updated": table.counts.updated,
            "deleted": table.counts.deleted,
            "schema_changes": schema_changes,
        })
    };
    let differing = tables.iter().filter(|table| table.differs());
    let tables: Map<String, Value> = differing.map(|table| (table.name.clone(), stat(table))).collect();
    json!({"from": from.0, "to": to.0, "tables": tables})
}

/// Bytes and operations since the database was opened.
pub fn counters_to_json(counters: &Counters) -> Value {
    let files: Map<String, Value> = counters
        .files
        .iter()
        .map(|(class, files)| {
            let counts = json!({
                "reads": files.reads,
                "bytes_read": files.bytes_read,
                "writes": files.writes,
                "bytes_written": files.bytes_written,
                "syncs": files.syncs,
            });
            (class.to_string(), counts)
        })
        .collect();
    json!({"files": files, "rows_decoded": counters.rows_decoded, "pages_decoded": counters.pages_decoded})
}

/// Who keeps the files of a manifest.
pub fn lease_to_json(lease: &LeaseInfo) -> Value {
    json!({"manifest": lease.manifest, "pid": lease.pid, "age_seconds": lease.age_seconds})
}

/// Sizes and settings.
pub fn info_to_json(info: &Info) -> Value {
    let files: Map<String, Value> = info
        .files
        .iter()
        .map(|(class, (files, bytes))| (class.to_string(), json!({"files": files, "bytes": bytes})))
        .collect();
    let leases: Vec<Value> = info.leases.iter().map(lease_to_json).collect();
    json!({
        "database_id": info.database_id,
        "version": info.version.0,
        "checkpoint_version": info.checkpoint_version.0,
        "manifest": info.manifest,
        "tables": info.tables,
        "files": files,
        "bytes": info.files.values().map(|(_, bytes)| bytes).sum::<u64>(),
        "log_used_bytes": info.log_used_bytes,
        "log_allocated_bytes": info.log_allocated_bytes,
        "row_versions": info.row_versions,
        "damage": info.damage,
        "compaction_debt_bytes": info.compaction_debt_bytes,
        "tags": info.tags,
        "memory_bytes": info.memory_bytes,
        "upkeep_error": info.upkeep_error,
        "leases": leases,
    })
}

/// What `verify` did and found.
pub fn verify_to_json(report: &VerifyReport) -> Value {
    let findings: Vec<Value> = report
        .findings
        .iter()
        .map(|finding| json!({"file": finding.file, "offset": finding.offset, "message": finding.message}))
        .collect();
    let aside = report.aside.iter().map(|(file, bytes)| json!({"file": file, "bytes": bytes}));
    let aside: Vec<Value> = aside.collect();
    json!({
        "ok": report.findings.is_empty(),
        "files": report.files,
        "bytes": report.bytes,
        "rows": report.rows,
        "records": report.records,
        "versions": report.versions,
        "findings": findings,
        "sampled_percent": report.sampled_percent,
        "aside": aside,
    })
}

/// A tag.
pub fn tag_to_json(tag: &Tag) -> Value {
    json!({
        "name": tag.name,
        "version": tag.version.0,
        "message": tag.message,
        "created": time(tag.created),
        "expires": tag.expires.map(time),
    })
}

/// The commit log as a table: one row a commit, by version.
pub fn commits_schema() -> TableSchema {
    let required = |name: &str, column_type| Column { nullable: false, ..Column::new(name, column_type) };
    let instant = || ColumnType::Timestamp(Unit::Microsecond, Some(Arc::from("UTC")));
    let columns = vec![
        required("version", ColumnType::UInt64),
        required("time", instant()),
        required("wall_time", instant()),
        required("id", ColumnType::Text),
        required("operation", ColumnType::Text),
        Column::new("author", ColumnType::Text),
        required("os_user", ColumnType::Text),
        required("host", ColumnType::Text),
        Column::new("message", ColumnType::Text),
        required("read_version", ColumnType::UInt64),
        required("inserted", ColumnType::UInt64),
        required("updated", ColumnType::UInt64),
        required("deleted", ColumnType::UInt64),
        required("tables", ColumnType::Text),
        required("meta", ColumnType::Text),
    ];
    TableSchema::new(columns, &["version"]).expect("the schema of the commit log is valid")
}

/// Commits as rows of [`commits_schema`].
pub fn commits_to_batch(commits: &[CommitInfo]) -> Result<RecordBatch> {
    let numbers = |value: &dyn Fn(&CommitInfo) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(commits.iter().map(value)))
    };
    let total = |count: fn(&Counts) -> u64| {
        numbers(&move |info: &CommitInfo| info.tables.values().map(count).fold(0, u64::saturating_add))
    };
    let times = |value: fn(&CommitInfo) -> CommitTime| -> ArrayRef {
        let micros = commits.iter().map(|info| value(info).0);
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
    };
    let texts_of = |value: &dyn Fn(&CommitInfo) -> Option<String>| -> ArrayRef {
        Arc::new(commits.iter().map(value).collect::<StringArray>())
    };
    let columns = vec![
        numbers(&|info| info.version.0),
        times(|info| info.time),
        times(|info| info.wall_time),
        texts_of(&|info| Some(info.id.to_string())),
        texts_of(&|info| Some(info.operation.clone())),
        texts_of(&|info| info.author.clone()),
        texts_of(&|info| Some(info.os_user.clone())),
        texts_of(&|info| Some(info.host.clone())),
        texts_of(&|info| info.message.clone()),
        numbers(&|info| info.read_version.0),
        total(|counts| counts.inserted),
        total(|counts| counts.updated),
        total(|counts| counts.deleted),
        texts_of(&|info| Some(counts_by_table(&info.tables).to_string())),
        texts_of(&|info| Some(texts(&info.meta).to_string())),
    ];
    Ok(RecordBatch::try_new(commits_schema().to_arrow(), columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_rows::{batch_of_json, schema_of};

    fn commit() -> CommitInfo {
        CommitInfo {
            version: Version(2),
            time: CommitTime(1_756_202_400_000_000),
            wall_time: CommitTime(1_756_202_400_000_001),
            id: uuid::Uuid::from_u128(0x0198_e5d2_7c00_7000_8000_0000_0000_0001),
            client_id: None,
            author: Some("ada".into()),
            os_user: "root".into(),
            host: "box".into(),
            message: None,
            operation: "import".into(),
            parameters: BTreeMap::from([("mode".into(), "replace".into())]),
            meta: BTreeMap::from([("ticket".into(), "7, \"x\"".into())]),
            read_version: Version(1),
            isolation: "snapshot",
            blind_append: false,
            tables: BTreeMap::from([
                ("a".into(), Counts { inserted: 1, updated: 2, deleted: 3 }),
                ("g.b".into(), Counts { inserted: 10, updated: 0, deleted: 0 }),
            ]),
            schema_changes: vec![("a".into(), "drop column x".into())],
            content_digest: [0xAB; 32],
            chain_digest: [1; 32],
        }
    }

    #[test]
    fn a_commit_has_the_promised_fields_in_their_order() {
        let value = commit_info_to_json(&commit(), &["q3".into()], true);
        let expected = r#"{"version":2,"parent":1,"id":"0198e5d2-7c00-7000-8000-000000000001","#.to_string()
            + r#""time":"2025-08-26T10:00:00.000000Z","wall_time":"2025-08-26T10:00:00.000001Z","author":"ada","#
            + r#""host":"box","message":null,"operation":"import","parameters":{"mode":"replace"},"read_version":1,"#
            + r#""isolation":"snapshot","blind_append":false,"meta":{"ticket":"7, \"x\""},"#
            + r#""tables":{"a":{"inserted":1,"updated":2,"deleted":3},"g.b":{"inserted":10,"updated":0,"deleted":0}},"#
            + r#""tags":["q3"],"readable":true,"os_user":"root","client_id":null,"#
            + r#""schema_changes":[{"table":"a","change":"drop column x"}],"content_digest":""#
            + &"ab".repeat(32)
            + r#"","chain_digest":""#
            + &"01".repeat(32)
            + r#""}"#;
        assert_eq!(value.to_string(), expected);
    }

    #[test]
    fn a_schema_names_columns_types_defaults_and_key() {
        let mut columns =
            vec![Column::new("id", ColumnType::Int64), Column::new("price", ColumnType::Decimal(9, 2))];
        columns[1].default = Some(crate::text::parse_scalar(&columns[1].column_type, "1.5").unwrap());
        let schema = TableSchema::new(columns, &["id"]).unwrap();
        assert_eq!(
            schema_to_json("g.t", &schema, Version(4)).to_string(),
            r#"{"table":"g.t","changed":4,"columns":[{"id":1,"name":"id","type":"int64","nullable":false,"default":null},"#
                .to_string()
                + r#"{"id":2,"name":"price","type":"decimal(9,2)","nullable":true,"default":1.50}],"key":["id"]}"#
        );
    }

    #[test]
    fn a_row_has_the_values_of_json_lines() {
        let batch = batch_of_json(
            &["uint64", "decimal(20,3)", "float64", "binary", "list(text)"],
            r#"[18446744073709551615,0.100,"NaN","ff",["a",null]] [null,null,1.0,null,null]"#,
        );
        let schema = schema_of(&batch);
        assert_eq!(
            row_to_json(&schema, &batch, 0).to_string(),
            r#"{"c0":18446744073709551615,"c1":0.100,"c2":"NaN","c3":"ff","c4":["a",null]}"#
        );
        assert_eq!(
            row_to_json(&schema, &batch, 1).to_string(),
            r#"{"c0":null,"c1":null,"c2":1.0,"c3":null,"c4":null}"#
        );
    }

    #[test]
    fn the_commit_log_is_a_table() {
        let (schema, batch) = (commits_schema(), commits_to_batch(&[commit()]).unwrap());
        let mut out = Vec::new();
        crate::text::write_csv_header(&schema, &mut out);
        crate::text::write_csv_rows(&schema, &batch, &mut out);
        let expected =
            "version,time,wall_time,id,operation,author,os_user,host,message,read_version,inserted,updated,\
                        deleted,tables,meta\n2,2025-08-26T10:00:00.000000Z,2025-08-26T10:00:00.000001Z,\
                        0198e5d2-7c00-7000-8000-000000000001,import,ada,root,box,,1,11,2,3,"
                .to_string()
                + "\"{\"\"a\"\":{\"\"inserted\"\":1,\"\"updated\"\":2,\"\"deleted\"\":3},"
                + "\"\"g.b\"\":{\"\"inserted\"\":10,\"\"updated\"\":0,\"\"deleted\"\":0}}\","
                + "\"{\"\"ticket\"\":\"\"7, \\\"\"x\\\"\"\"\"}\"\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!(commits_to_batch(&[]).unwrap().num_rows(), 0);
    }

    #[test]
    fn reports_have_every_number() {
        let info = Info { files: BTreeMap::from([("log", (2, 100)), ("data", (1, 50))]), ..Info::default() };
        let value = info_to_json(&info);
        assert_eq!(
            (&value["bytes"], &value["files"]["log"]),
            (&json!(150), &json!({"files": 2, "bytes": 100}))
        );
        let mut report = VerifyReport::default();
        assert_eq!(verify_to_json(&report)["ok"], json!(true));
        report.findings.push(Finding { file: "a".into(), offset: Some(7), message: "torn".into() });
        assert_eq!(verify_to_json(&report)["ok"], json!(false));
        assert_eq!(
            verify_to_json(&report)["findings"][0],
            json!({"file": "a", "offset": 7, "message": "torn"})
        );
        let tag = Tag {
            name: "q3".into(),
            version: Version(0),
            message: None,
            created: CommitTime::MIN,
            expires: Some(CommitTime(0)),
        };
        let expected = json!({"name": "q3", "version": 0, "message": null, "created": null,
                              "expires": "1970-01-01T00:00:00.000000Z"});
        assert_eq!(tag_to_json(&tag), expected);
        let table = TableInfo {
            name: "t".into(),
            id: 3,
            schema: Arc::new(commits_schema()),
            rows: 9,
            changed: Version(4),
            changed_time: CommitTime(0),
        };
        let expected = json!({"table": "t", "id": 3, "rows": 9, "columns": 15, "key": ["version"], "changed": 4,
                              "changed_time": "1970-01-01T00:00:00.000000Z"});
        assert_eq!(table_info_to_json(&table), expected);
        let counters = Counters {
            files: BTreeMap::from([(
                "log",
                FileCounters { reads: 1, bytes_read: 2, writes: 3, bytes_written: 4, syncs: 5 },
            )]),
            rows_decoded: 6,
            pages_decoded: 7,
        };
        let expected = json!({"files": {"log": {"reads": 1, "bytes_read": 2, "writes": 3, "bytes_written": 4, "syncs": 5}},
                              "rows_decoded": 6, "pages_decoded": 7});
        assert_eq!(counters_to_json(&counters), expected);
    }
}
