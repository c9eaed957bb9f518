#![allow(dead_code)]
mod finding;
mod kernel;
fn main() {
    let o = kernel::load::Options{verbose: std::env::args().nth(1).is_some(), ..Default::default()};
    let mut k = match kernel::load::Kernel::load(&o) { Ok(k)=>k, Err(e)=>{ println!("{e}"); std::process::exit(1)} };
    for f in &k.features { println!("{:?}", f); }
    loop {
        let mut n=0;
        let t = k.census(|h| { n+=1; if n<5 {println!("{:?}", h);} });
        println!("{n} {:?}", t);
        k.drain_stacks(|r| match r { kernel::stacks::Record::Frames(h,f)=>println!("frames {} {:x?}", h.tgid, f), kernel::stacks::Record::Copy(h,b)=>println!("copy {} {:#x} {}", h.tgid, h.pc, b.len()), kernel::stacks::Record::End(e)=>println!("{e:?}") });
        println!("{:?}", k.counters().map(|c| (c.lost, c.close_wait)));
        std::thread::sleep(std::time::Duration::from_secs(2));
    }
}
