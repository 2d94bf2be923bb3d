// SPDX-License-Identifier: GPL-2.0-only
/*
 * Test builds: parts of the MMU notifiers that can be switched off by name, to
 * see that a test fails without them, and a record of which parts a test met.
 * A name is a step of a protocol, or the "file.c:line" of a hook.
 */

#include <linux/kernel.h>
#include <linux/mmu_notifier.h>
#include <linux/moduleparam.h>
#include <linux/spinlock.h>
#include <linux/string.h>

#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "mmu_notifier."

static char mutant[64];
module_param_string(mutant, mutant, sizeof(mutant), 0644);
MODULE_PARM_DESC(mutant, "What to switch off, to see a test fail");

/* The names that were asked for since recording began, each once. */
static const char *met[128];
static unsigned int nr_met;
static bool recording;
static DEFINE_RAW_SPINLOCK(met_lock);

static void mn_record(const char *name)
{
	unsigned long flags;
	unsigned int i;

	raw_spin_lock_irqsave(&met_lock, flags);
	for (i = 0; i < nr_met && strcmp(met[i], name); i++)
		;
	if (i == nr_met && !WARN_ON_ONCE(nr_met == ARRAY_SIZE(met)))
		met[nr_met++] = name;
	raw_spin_unlock_irqrestore(&met_lock, flags);
}

static int mn_met_set(const char *value, const struct kernel_param *param)
{
	unsigned long flags;

	raw_spin_lock_irqsave(&met_lock, flags);
	nr_met = 0;
	recording = true;
	raw_spin_unlock_irqrestore(&met_lock, flags);
	return 0;
}

static int mn_met_get(char *buffer, const struct kernel_param *param)
{
	unsigned long flags;
	unsigned int i;
	int length = 0;

	raw_spin_lock_irqsave(&met_lock, flags);
	for (i = 0; i < nr_met; i++)
		length += scnprintf(buffer + length, PAGE_SIZE - length, "%s\n",
				    met[i]);
	raw_spin_unlock_irqrestore(&met_lock, flags);
	return length;
}

static const struct kernel_param_ops mn_met_ops = {
	.set = mn_met_set,
	.get = mn_met_get,
};
module_param_cb(met, &mn_met_ops, NULL, 0644);
MODULE_PARM_DESC(met, "The names met since this was written to");

/**
 * mmu_notifier_mutant - is this part to be left out?
 * @name: its name, a string that lives for ever
 *
 * Context: any but NMI.
 * Return: true if the parameter "mutant" names it.
 */
bool mmu_notifier_mutant(const char *name)
{
	if (unlikely(READ_ONCE(recording)))
		mn_record(name);
	return mutant[0] && sysfs_streq(mutant, name);
}
