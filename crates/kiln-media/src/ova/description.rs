//! The description of a virtual machine that starts through UEFI from one disk.
//!
//! Hardware of VMware's version 13 (ESXi 6.5): paravirtual SCSI and network, whose drivers are in
//! every distribution's general kernel. Order of elements: DSP0243 1.1, section 8; elements of an
//! `Item` stand in alphabetical order, as the schema of CIM_ResourceAllocationSettingData wants it.

use super::writer::Appliance;

/// Processors of the machine; whoever deploys it may change it.
const PROCESSORS: u32 = 2;
/// Its memory in MiB.
const MEMORY: u32 = 2048;
/// VMware's virtual hardware.
const HARDWARE: &str = "vmx-13";
/// "Linux 64-Bit" of CIM_OperatingSystem.OSType.
const OPERATING_SYSTEM: u32 = 101;
/// The form of the disk, by the name that the specification refers to.
const DISK_FORMAT: &str =
    "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized";

/// The description, for a disk file of so many bytes.
pub(super) fn render(appliance: &Appliance<'_>, disk: &str, length: u64) -> String {
    let (title, version) = (escape(appliance.title), escape(appliance.version));
    let name = escape(appliance.name);
    let capacity = appliance.disk.virtual_length;
    // VMware's own name for the system; for other processors there is none that all versions know.
    let guest = if appliance.is_x86 { " vmw:osType=\"otherLinux64Guest\"" } else { "" };
    let items = items();
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData" xmlns:vmw="http://www.vmware.com/schema/ovf" xmlns:vssd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData">
  <References>
    <File ovf:href="{disk}" ovf:id="file1" ovf:size="{length}"/>
  </References>
  <DiskSection>
    <Info>The disk</Info>
    <Disk ovf:capacity="{capacity}" ovf:capacityAllocationUnits="byte" ovf:diskId="disk1" ovf:fileRef="file1" ovf:format="{DISK_FORMAT}"/>
  </DiskSection>
  <NetworkSection>
    <Info>The network</Info>
    <Network ovf:name="VM Network">
      <Description>The network of the machine</Description>
    </Network>
  </NetworkSection>
  <VirtualSystem ovf:id="{name}">
    <Info>The machine</Info>
    <Name>{title}</Name>
    <ProductSection>
      <Info>What it runs</Info>
      <Product>{title}</Product>
      <Version>{version}</Version>
    </ProductSection>
    <OperatingSystemSection ovf:id="{OPERATING_SYSTEM}"{guest}>
      <Info>Its kind of operating system</Info>
      <Description>Linux 64-Bit</Description>
    </OperatingSystemSection>
    <VirtualHardwareSection>
      <Info>Its hardware</Info>
      <System>
        <vssd:ElementName>Virtual Hardware Family</vssd:ElementName>
        <vssd:InstanceID>0</vssd:InstanceID>
        <vssd:VirtualSystemIdentifier>{name}</vssd:VirtualSystemIdentifier>
        <vssd:VirtualSystemType>{HARDWARE}</vssd:VirtualSystemType>
      </System>
{items}      <vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="efi"/>
      <vmw:Config ovf:required="false" vmw:key="bootOptions.efiSecureBootEnabled" vmw:value="false"/>
    </VirtualHardwareSection>
  </VirtualSystem>
</Envelope>
"#
    )
}

/// The machine's hardware. Numbers of `ResourceType` are those of CIM_ResourceAllocationSettingData.
fn items() -> String {
    let processors = PROCESSORS.to_string();
    let memory = MEMORY.to_string();
    let all: [&[(&str, &str)]; 5] = [
        &[
            ("AllocationUnits", "hertz * 10^6"),
            ("ElementName", "Processors"),
            ("InstanceID", "1"),
            ("ResourceType", "3"),
            ("VirtualQuantity", &processors),
        ],
        &[
            ("AllocationUnits", "byte * 2^20"),
            ("ElementName", "Memory"),
            ("InstanceID", "2"),
            ("ResourceType", "4"),
            ("VirtualQuantity", &memory),
        ],
        &[
            ("Address", "0"),
            ("ElementName", "SCSI controller"),
            ("InstanceID", "3"),
            ("ResourceSubType", "VirtualSCSI"),
            ("ResourceType", "6"),
        ],
        &[
            ("AddressOnParent", "0"),
            ("ElementName", "Disk"),
            ("HostResource", "ovf:/disk/disk1"),
            ("InstanceID", "4"),
            ("Parent", "3"),
            ("ResourceType", "17"),
        ],
        &[
            ("AutomaticAllocation", "true"),
            ("Connection", "VM Network"),
            ("ElementName", "Network"),
            ("InstanceID", "5"),
            ("ResourceSubType", "VmxNet3"),
            ("ResourceType", "10"),
        ],
    ];
    let item = |fields: &[(&str, &str)]| {
        let lines =
            fields.iter().map(|(key, value)| format!("        <rasd:{key}>{value}</rasd:{key}>\n"));
        format!("      <Item>\n{}      </Item>\n", lines.collect::<String>())
    };
    all.into_iter().map(item).collect()
}

/// Text for XML 1.0; characters that it cannot hold are left out.
fn escape(text: &str) -> String {
    text.chars()
        .filter(|character| {
            !character.is_control() && !matches!(character, '\u{fffe}' | '\u{ffff}')
        })
        .fold(String::new(), |mut text, character| {
            match character {
                '&' => text.push_str("&amp;"),
                '<' => text.push_str("&lt;"),
                '>' => text.push_str("&gt;"),
                '"' => text.push_str("&quot;"),
                other => text.push(other),
            }
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MediumFacts;

    #[test]
    fn it_names_the_disk_and_escapes_what_an_image_says() {
        let appliance = Appliance {
            name: "edge",
            title: "Edge <13> & \"more\"\u{1}",
            version: "1",
            is_x86: true,
            disk: MediumFacts { length: 77, virtual_length: 1 << 34 },
        };
        let text = render(&appliance, "edge.vmdk", 77);
        for expected in [
            "ovf:href=\"edge.vmdk\" ovf:id=\"file1\" ovf:size=\"77\"",
            "ovf:capacity=\"17179869184\"",
            "<Name>Edge &lt;13&gt; &amp; &quot;more&quot;</Name>",
            "vmw:key=\"firmware\" vmw:value=\"efi\"",
            "otherLinux64Guest",
        ] {
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
        let other = render(&Appliance { is_x86: false, ..appliance }, "edge.vmdk", 77);
        assert!(!other.contains("osType"));
        // Every element that is opened is closed.
        let opened = text.matches('<').count() - text.matches("</").count();
        let closed = text.matches("</").count() + text.matches("/>").count();
        assert_eq!(opened, closed + 1, "the declaration alone is not closed");
    }
}
