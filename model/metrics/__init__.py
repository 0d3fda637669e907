"""Quality measures: PSNR, SSIM, no-reference measures. Imports numpy and `model.imaging` only."""
