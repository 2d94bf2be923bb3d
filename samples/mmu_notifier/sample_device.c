// SPDX-License-Identifier: GPL-2.0
/*
 * Three devices that see the memory of the process which opened them, each by a
 * secondary MMU of another style: sample_page.c, sample_range.c, sample_sleep.c.
 *
 *	fd = open("/dev/sample_mmu_page", O_RDWR);
 *	pread(fd, &value, sizeof(value), (off_t)&variable);
 *
 * loads what is at the address of variable.
 */
#include <linux/fs.h>
#include <linux/highmem.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "sample_device.h"

struct sample_file {
	const struct sample_style *style;
	struct sample_mmu *mmu;
	struct mm_struct *mm;
};

/* The "device" is a copy by the CPU, to or from the page frame @pfn. */
void sample_copy(unsigned long pfn, unsigned long address, void *data,
		 size_t length, bool write)
{
	char *page = kmap_local_pfn(pfn);

	if (write)
		memcpy(page + offset_in_page(address), data, length);
	else
		memcpy(data, page + offset_in_page(address), length);
	kunmap_local(page);
}

/* Up to the end of the page, as devices do: the caller asks for the rest. */
static ssize_t sample_transfer(struct file *filp, char __user *to,
			       const char __user *from, size_t length,
			       loff_t address)
{
	struct sample_file *file = filp->private_data;
	char data[64];
	int ret;

	length = min3(length, sizeof(data),
		      (size_t)(PAGE_SIZE - offset_in_page(address)));
	if (from && copy_from_user(data, from, length))
		return -EFAULT;

	if (!mmget_not_zero(file->mm))
		return -ESRCH;
	ret = file->style->access(file->mmu, address, data, length, from);
	mmput(file->mm);
	if (ret)
		return ret;

	if (to && copy_to_user(to, data, length))
		return -EFAULT;
	return length;
}

static ssize_t sample_read(struct file *filp, char __user *to, size_t length,
			   loff_t *pos)
{
	return sample_transfer(filp, to, NULL, length, *pos);
}

static ssize_t sample_write(struct file *filp, const char __user *from,
			    size_t length, loff_t *pos)
{
	return sample_transfer(filp, NULL, from, length, *pos);
}

static int sample_open(struct file *filp, const struct sample_style *style)
{
	struct sample_file *file = kzalloc(sizeof(*file), GFP_KERNEL);
	int ret;

	if (!file)
		return -ENOMEM;
	file->style = style;
	file->mm = current->mm;
	file->mmu = style->attach(file->mm);
	if (IS_ERR(file->mmu)) {
		ret = PTR_ERR(file->mmu);
		kfree(file);
		return ret;
	}
	/* The subscription holds one as well, but a driver need not know. */
	mmgrab(file->mm);
	filp->private_data = file;
	return 0;
}

static int sample_release(struct inode *inode, struct file *filp)
{
	struct sample_file *file = filp->private_data;

	file->style->detach(file->mmu);
	mmdrop(file->mm);
	kfree(file);
	return 0;
}

#define SAMPLE_DEVICE(kind)						\
static int sample_##kind##_open(struct inode *inode, struct file *filp)	\
{									\
	return sample_open(filp, &sample_##kind##_style);		\
}									\
									\
static const struct file_operations sample_##kind##_fops = {		\
	.owner		= THIS_MODULE,					\
	.open		= sample_##kind##_open,				\
	.release	= sample_release,				\
	.read		= sample_read,					\
	.write		= sample_write,					\
	.llseek		= noop_llseek,					\
};									\
									\
static struct miscdevice sample_##kind##_device = {			\
	.minor	= MISC_DYNAMIC_MINOR,					\
	.name	= "sample_mmu_" #kind,					\
	.fops	= &sample_##kind##_fops,				\
}

SAMPLE_DEVICE(page);
SAMPLE_DEVICE(range);
SAMPLE_DEVICE(sleep);

static int __init sample_init(void)
{
	int ret;

	ret = misc_register(&sample_page_device);
	if (ret)
		return ret;
	ret = misc_register(&sample_range_device);
	if (ret)
		goto no_range;
	ret = misc_register(&sample_sleep_device);
	if (ret)
		goto no_sleep;
	return 0;

no_sleep:
	misc_deregister(&sample_range_device);
no_range:
	misc_deregister(&sample_page_device);
	return ret;
}
module_init(sample_init);

static void __exit sample_exit(void)
{
	misc_deregister(&sample_sleep_device);
	misc_deregister(&sample_range_device);
	misc_deregister(&sample_page_device);
}
module_exit(sample_exit);

MODULE_DESCRIPTION("Samples of MMU notifiers: three styles of secondary MMU");
MODULE_LICENSE("GPL");
