//! A table of the simulation: rows with a begin and an end, nothing else; and what its versions cost to read.

/// A row version by number.
pub type Row = u32;
/// A version.
pub type At = u32;
/// The end of a row that lives.
pub const FOREVER: At = At::MAX;

/// Rows that are decoded together by versions from `from` to before `to`.
pub struct Extent {
    /// Which file they are in, counted from 0.
    pub file: usize,
    /// How many.
    pub rows: u64,
    /// The first version that decodes them.
    pub from: At,
    /// The first one after it that does not.
    pub to: At,
}

/// Begins and ends of all row versions, and the file each is in.
#[derive(Default)]
pub struct Lives {
    /// When each began.
    pub begins: Vec<At>,
    /// When each ended.
    pub ends: Vec<At>,
    /// The file each is in; `u32::MAX` before a checkpoint.
    pub files: Vec<u32>,
    /// Rows visible at each version.
    pub visible: Vec<u64>,
}

/// A policy with its files.
pub trait Files {
    /// A row of a file died.
    fn died(&mut self, file: u32);
    /// Rows since the last checkpoint become files; then, if `compact`, all that the policy asks for is done.
    fn checkpoint(&mut self, lives: &mut Lives, rows: Vec<Row>, version: At, compact: bool);
    /// Row versions in files, copies counted.
    fn rows_stored(&self) -> u64;
    /// Rows written so far.
    fn rows_written(&self) -> u64;
    /// What is decoded together.
    fn extents(&self) -> Vec<Extent>;
}

/// A table.
pub struct Table {
    /// Its row versions.
    pub lives: Lives,
    /// Its files.
    pub files: Box<dyn Files>,
    /// The rows alive, in an order of their own.
    pub alive: Vec<Row>,
    memory: Vec<Row>,
    version: At,
    state: u64,
}

impl Table {
    pub fn new(files: Box<dyn Files>) -> Table {
        let lives = Lives { visible: vec![0], ..Lives::default() };
        Table {
            lives,
            files,
            alive: Vec::new(),
            memory: Vec::new(),
            version: 1,
            state: 0x9E37_79B9_7F4A_7C15,
        }
    }

    /// A random number below a limit (xorshift64*).
    pub fn below(&mut self, limit: usize) -> usize {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        ((self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % limit as u64) as usize
    }

    /// Some alive row, the n-th with a probability of about 1/n.
    pub fn zipf(&mut self) -> usize {
        let exponent = self.below(1 << 30) as f64 / (1u64 << 30) as f64;
        ((self.alive.len() as f64).powf(exponent) as usize - 1).min(self.alive.len() - 1)
    }

    fn born(&mut self) -> Row {
        let row = self.lives.begins.len() as Row;
        self.lives.begins.push(self.version);
        self.lives.ends.push(FOREVER);
        self.lives.files.push(u32::MAX);
        self.memory.push(row);
        row
    }

    fn dies(&mut self, row: Row) {
        self.lives.ends[row as usize] = self.version;
        match self.lives.files[row as usize] {
            u32::MAX => {}
            file => self.files.died(file),
        }
    }

    /// Adds a row.
    pub fn insert(&mut self) {
        let row = self.born();
        self.alive.push(row);
    }

    /// Replaces an alive row; at most once in a version.
    pub fn update(&mut self, index: usize) {
        if self.lives.begins[self.alive[index] as usize] != self.version {
            self.dies(self.alive[index]);
            self.alive[index] = self.born();
        }
    }

    /// Ends an alive row of an earlier version.
    pub fn delete(&mut self, index: usize) {
        if self.lives.begins[self.alive[index] as usize] != self.version {
            let row = self.alive.swap_remove(index);
            self.dies(row);
        }
    }

    /// Ends the version.
    pub fn commit(&mut self) {
        self.lives.visible.push(self.alive.len() as u64);
        self.version += 1;
    }

    /// Makes a checkpoint.
    pub fn checkpoint(&mut self, compact: bool) {
        // What is dead before it began was never there.
        let rows = std::mem::take(&mut self.memory);
        self.files.checkpoint(&mut self.lives, rows, self.version - 1, compact);
    }

    /// All row versions there ever were.
    pub fn row_versions(&self) -> u64 {
        self.lives.begins.len() as u64
    }
}

/// What reading costs, over all versions that show a row.
pub struct Profile {
    /// Rows decoded for one visible, on average.
    pub mean: f64,
    /// All but a hundredth of the versions stay below.
    pub p99: f64,
    /// The worst version.
    pub max: f64,
    /// The most rows decoded beyond twice those visible.
    pub over_twice: u64,
    /// The most runs that a version reads.
    pub runs_read: i64,
}

impl Profile {
    pub fn of(table: &Table) -> Profile {
        let visible = &table.lives.visible;
        let (mut rows, mut runs) = (vec![0i64; visible.len() + 1], vec![0i64; visible.len() + 1]);
        for extent in table.files.extents() {
            let (from, to) = (extent.from as usize, (extent.to as usize).min(visible.len()));
            rows[from] += extent.rows as i64;
            rows[to] -= extent.rows as i64;
            runs[from] += 1;
            runs[to] -= 1;
        }
        let (mut decoded, mut running) = (0, 0);
        let mut profile = Profile { mean: 0.0, p99: 0.0, max: 0.0, over_twice: 0, runs_read: 0 };
        let mut ratios = Vec::new();
        for (version, visible) in visible.iter().enumerate().skip(1) {
            decoded += rows[version];
            running += runs[version];
            assert!(
                decoded as u64 >= *visible,
                "version {version} decodes {decoded} rows and shows {visible}"
            );
            profile.runs_read = profile.runs_read.max(running);
            profile.over_twice = profile.over_twice.max((decoded as u64).saturating_sub(2 * visible));
            if *visible > 0 {
                ratios.push(decoded as f64 / *visible as f64);
            }
        }
        ratios.sort_by(f64::total_cmp);
        profile.mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
        profile.p99 = ratios[ratios.len() * 99 / 100];
        profile.max = ratios[ratios.len() - 1];
        profile
    }
}
