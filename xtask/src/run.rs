//! Running commands at the repository's root, shown before they run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Nothing, or what failed and what to do.
pub type Done = Result<(), String>;

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies right below the root")
}

/// Where cargo puts what it builds.
pub fn target_dir() -> Result<PathBuf, String> {
    let metadata =
        Step::cargo(&["metadata", "--no-deps", "--offline", "--format-version", "1"]).quiet().output()?;
    let start = "\"target_directory\":\"";
    let rest = metadata.split_once(start).map(|(_, rest)| rest);
    // A path with a quote or backslash would come escaped, and be cut off here: then it does not exist.
    let path = rest.and_then(|rest| rest.split('"').next()).map(PathBuf::from);
    path.ok_or_else(|| "cargo metadata names no target directory".to_string())
}

/// Whether a program is on the PATH.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps some programs where only root looks.
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    dirs.into_iter().any(|dir| dir.join(program).is_file())
}

/// One command.
pub struct Step {
    program: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    quiet: bool,
}

impl Step {
    /// A program with arguments.
    pub fn new(program: &str, arguments: &[&str]) -> Step {
        Step {
            program: program.to_string(),
            arguments: arguments.iter().map(|argument| argument.to_string()).collect(),
            environment: Vec::new(),
            quiet: false,
        }
    }

    /// The cargo that runs this.
    pub fn cargo(arguments: &[&str]) -> Step {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string());
        Step::new(&cargo, arguments)
    }

    /// More arguments.
    pub fn args(mut self, arguments: &[&str]) -> Step {
        self.arguments.extend(arguments.iter().map(|argument| argument.to_string()));
        self
    }

    /// A variable of the environment.
    pub fn env(mut self, name: &str, value: &str) -> Step {
        self.environment.push((name.to_string(), value.to_string()));
        self
    }

    /// Not shown.
    pub fn quiet(mut self) -> Step {
        self.quiet = true;
        self
    }

    fn line(&self) -> String {
        let name = Path::new(&self.program).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let variables = self.environment.iter().map(|(name, value)| format!("{name}={value}"));
        let words = variables.chain([name]).chain(self.arguments.iter().cloned());
        words.collect::<Vec<_>>().join(" ")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(root()).stdin(Stdio::null());
        // What cargo tells of this package: build scripts of dependencies look at such variables, and would run again,
        // with all that depends on them, whenever cargo is called by itself in between.
        let of_package = |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
        for (name, _) in std::env::vars().filter(|(name, _)| of_package(name)) {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it, its output going where ours goes.
    pub fn run(self) -> Done {
        if !self.quiet {
            eprintln!("\n==> {}", self.line());
        }
        let status =
            self.command().status().map_err(|error| format!("cannot run {}: {error}", self.program))?;
        if status.success() { Ok(()) } else { Err(format!("failed ({status}): {}", self.line())) }
    }

    /// Runs it and gives what it prints.
    pub fn output(self) -> Result<String, String> {
        let output = self.command().stderr(Stdio::inherit()).output();
        let output = output.map_err(|error| format!("cannot run {}: {error}", self.program))?;
        if !output.status.success() {
            return Err(format!("failed ({}): {}", output.status, self.line()));
        }
        String::from_utf8(output.stdout).map_err(|_| format!("{} printed no UTF-8", self.program))
    }
}
