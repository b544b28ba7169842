// Verdicts, targets, what was kept, and what a record lacks, in Chinese, by the English template.
export const zh = {
};
