//! Runs Criterion's benchmark of choosing a port (`benches/allocator.rs`) and writes its results.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::report::{Part, machine, target_folder};

pub fn run(quick: bool) -> Part {
    let machine = machine();
    let target = target_folder();
    let found = target.join("criterion");
    // The results of an earlier version must not be mixed in.
    let _ = fs::remove_dir_all(&found);
    let mut bench = Command::new(env!("CARGO"));
    bench
        .args(["bench", "--locked", "-p", "portmaster-bench", "--bench", "allocator", "--target-dir"])
        .arg(&target)
        .args(["--", "--noplot"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if quick {
        bench.arg("--quick");
    }
    assert!(bench.status().unwrap().success(), "the benchmark did not run");

    // Nanoseconds: by strategy and number of ports in the range, then by the share of taken ports.
    let mut medians = BTreeMap::<(String, u32), BTreeMap<String, f64>>::new();
    collect(&found, &mut medians);
    let mut part = Part {
        text: format!(
            "Nanoseconds for one choice, Criterion's medians: pure code, no table. *Taken* ports are drawn at random. \
             {machine}\n\n"
        ),
        ..Part::default()
    };
    let shares = ["0 % taken", "50 % taken", "99 % taken", "99.99 % taken"];
    let (mut rows, mut lines) = (Vec::new(), BTreeMap::<String, Vec<(f64, f64)>>::new());
    for ((strategy, size), by_share) in &medians {
        let mut row = vec![strategy.clone(), size.to_string()];
        for share in shares {
            let nanos = by_share.get(share).unwrap_or_else(|| panic!("{strategy}, {size}, {share} was not measured"));
            row.push(format!("{nanos:.0}"));
            if share != shares[1] {
                lines.entry(format!("{strategy}, {share}")).or_default().push((f64::from(*size), *nanos));
            }
        }
        rows.push(row);
    }
    part.table(&[&["strategy", "ports"][..], &shares].concat(), &rows);
    let lines: Vec<_> = lines.into_iter().collect();
    part.plot("performance-allocator.svg", "Choosing a port", "ports in the range", "nanoseconds", &lines);
    part
}

/// Reads Criterion's results. Each benchmark has a folder of its own, with its name and its times in separate files.
fn collect(folder: &Path, medians: &mut BTreeMap<(String, u32), BTreeMap<String, f64>>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let read = |file| serde_json::from_slice::<Value>(&fs::read(entry.path().join(file)).ok()?).ok();
        let (Some(name), Some(estimates)) = (read("benchmark.json"), read("estimates.json")) else {
            collect(&entry.path(), medians);
            continue;
        };
        if entry.file_name() == "new" {
            let text = |field: &str| name[field].as_str().unwrap().to_owned();
            let of = medians.entry((text("group_id"), text("function_id").parse().unwrap())).or_default();
            of.insert(text("value_str"), estimates["median"]["point_estimate"].as_f64().unwrap());
        }
    }
}
