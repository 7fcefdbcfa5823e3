//! Running a target: over what is kept, and over what is made of it until time is up.

use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sha2::{Digest, Sha256};

use super::mutate::mutate;
use super::targets::Target;

/// Time that one input may take; more is a finding.
const INPUT_TIME_MAX: Duration = Duration::from_secs(2);

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Inputs tried.
    pub inputs: u64,
    /// Files of inputs that something did not hold for.
    pub findings: Vec<PathBuf>,
}

fn dir(kind: &str, target: Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(kind).join(target.name())
}

/// Where inputs are kept that something did not hold for once.
pub fn crashes_dir(target: Target) -> PathBuf {
    dir("crashes", target)
}

/// The kept inputs of a target: its corpus and what crashed it once.
pub fn kept(target: Target) -> anyhow::Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut inputs = Vec::new();
    for folder in [dir("corpus", target), crashes_dir(target)] {
        let Ok(files) = fs::read_dir(&folder) else { continue };
        for file in files {
            let path = file?.path();
            let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
            inputs.push((path, bytes));
        }
    }
    inputs.sort();
    Ok(inputs)
}

/// Tries every kept input and every seed.
///
/// # Panics
/// At the first input for which something does not hold.
pub fn replay(target: Target) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::default();
    for (path, bytes) in kept(target)? {
        println!("{target}: {}", path.display());
        target.run(&bytes);
        outcome.inputs += 1;
    }
    for seed in target.seeds() {
        target.run(&seed);
        outcome.inputs += 1;
    }
    Ok(outcome)
}

/// Tries inputs made of the kept ones until time is up or enough was found.
pub fn fuzz(target: Target, during: Duration, seed: u64, found: &Path) -> anyhow::Result<Outcome> {
    const FINDINGS_MAX: usize = 10;
    let mut corpus: Vec<Vec<u8>> = kept(target)?.into_iter().map(|(_, bytes)| bytes).collect();
    corpus.extend(target.seeds());
    fs::create_dir_all(found).with_context(|| found.display().to_string())?;
    // What is under work survives a crash that cannot be caught.
    let at_work_path = found.join(format!("{target}-at-work"));
    let at_work = fs::File::create(&at_work_path).with_context(|| at_work_path.display().to_string())?;
    let mut random = StdRng::seed_from_u64(seed);
    let mut outcome = Outcome::default();
    let end = Instant::now() + during;
    while Instant::now() < end && outcome.findings.len() < FINDINGS_MAX {
        let bytes = mutate(&mut random, &corpus);
        let bytes = target.dress(&mut random, bytes);
        at_work.set_len(0)?;
        at_work.write_all_at(&bytes, 0)?;
        let begin = Instant::now();
        let held = catch_unwind(AssertUnwindSafe(|| target.run(&bytes))).is_ok();
        outcome.inputs += 1;
        if !held || begin.elapsed() > INPUT_TIME_MAX {
            outcome.findings.push(keep(found, target, &bytes)?);
        }
    }
    drop(at_work);
    fs::remove_file(&at_work_path)?;
    Ok(outcome)
}

fn keep(found: &Path, target: Target, bytes: &[u8]) -> anyhow::Result<PathBuf> {
    let name = hex::encode(&Sha256::digest(bytes)[..8]);
    let path = found.join(format!("{target}-{name}"));
    let mut file = fs::File::create(&path).with_context(|| path.display().to_string())?;
    file.write_all(bytes)?;
    Ok(path)
}
