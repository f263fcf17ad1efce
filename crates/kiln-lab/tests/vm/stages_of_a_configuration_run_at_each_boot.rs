//! Promise: a cloud-config in /oem is carried out at each boot, stage by stage, in the order and under
//! the unit names that Elemental's users know; a command that fails keeps nothing else from running; and
//! a machine without any configuration starts none of it.

use kiln_lab::virtual_machine::BOOT;
use kiln_lab::{Error, Failure, Product, VirtualMachine, WorkDirectory, debian, product};

/// What an owner puts on the disk. The network stage notes what was there before it.
const SITE: &str = "\
#cloud-config
stages:
  boot:
    - name: Site
      if: test -f /run/cos/active_mode
      files:
        - path: /etc/kiln-stage
          permissions: 0640
          content: written in boot
      sysctl:
        kernel.domainname: furnace
      users:
        joe:
          passwd: joe
          shell: /bin/bash
    - if: test -f /run/cos/recovery_mode
      files:
        - path: /etc/kiln-never
          content: not in this mode
  network.before:
    - commands:
        - cat /etc/kiln-stage > /run/kiln-order
        - /bin/false
        - echo . before >> /run/kiln-order
  network:
    - commands:
        - echo . network >> /run/kiln-order
";

#[test]
fn stages_of_a_configuration_run_at_each_boot() -> Result<(), Failure> {
    let work = WorkDirectory::new("stages")?;
    let system = Product::from_environment()?.debian_system(&[])?;
    let disk = system.disk(&work)?;
    let boot = |name: &str| -> Result<VirtualMachine, Error> {
        let mut machine = VirtualMachine::start(name, product::machine(&disk)?, &work)?;
        machine.login(debian::USER, product::PASSWORD)?;
        machine.run_for("systemctl is-system-running --wait", BOOT)?;
        Ok(machine)
    };

    let mut machine = boot("stages-none")?;
    let result = machine.succeed("systemctl show -P ConditionResult kiln-stage-network.service")?;
    assert_eq!(result, "no", "a stage ran although there is no configuration");
    for line in SITE.lines() {
        machine.succeed(&format!("echo '{line}' | sudo -n tee -a /oem/90_site.yaml"))?;
    }
    let plan = machine.succeed("sudo -n kiln -q stage network --dry-run")?;
    assert_eq!(plan.lines().count(), 4, "{plan}");
    machine.power_off()?;

    let mut machine = boot("stages-site")?;
    let failed = machine.succeed("systemctl list-units --state=failed --no-legend --plain")?;
    assert_eq!(failed, "", "failed units");
    for unit in ["kiln-stage-boot", "cos-setup-network", "elemental-setup-network"] {
        machine.succeed(&format!("systemctl is-active {unit}.service"))?;
    }
    let order = machine.succeed("cat /run/kiln-order | tr '\\n' ' '")?;
    assert_eq!(order.trim_end(), "written in boot. before . network");
    assert_eq!(machine.succeed("sudo -n stat -c %a:%U /etc/kiln-stage")?, "640:root");
    assert_eq!(machine.succeed("cat /proc/sys/kernel/domainname")?, "furnace");
    assert_eq!(machine.succeed("getent passwd joe | cut -d: -f1,7")?, "joe:/bin/bash");
    machine.succeed("test ! -e /etc/kiln-never")?;
    let journal =
        machine.succeed("sudo -n journalctl -b -u kiln-stage-network -o cat --no-pager")?;
    assert!(journal.contains("/oem/90_site.yaml"), "{journal}");
    assert!(!journal.contains("passwd: joe"), "a password is in the journal: {journal}");
    Ok(machine.power_off()?)
}
